"""Measures that words name: the library's, and one's own as module:measure."""

import functools
import inspect
import itertools
import sys
import uuid
from collections.abc import Iterable
from typing import Any

from gengap._checks import check_choice
from gengap._errors import UsageError
from gengap.measures import MEASURES, Measure
from gengap.report import Chart

from ._import import is_import_path, resolve

_SAME = 1.01  # a factor nearer to 1 is rounding


def check_names(names: Iterable[str]) -> None:
    """Require names of the library's measures, or words that read module:measure."""
    for name in names:
        if not is_import_path(name):
            check_choice("names", name, MEASURES)


def find_measures(names: Iterable[str]) -> list[Measure]:
    """Return the measures that words name, in their order.

    Raises:
        UsageError: There is no such module or name, or what it names is not a `Measure`.
    """
    return [MEASURES[name] if name in MEASURES else _imported(name) for name in names]


def own(measures: Iterable[Measure]) -> list[Measure]:
    """Return those that are not the library's."""
    return [measure for measure in measures if MEASURES.get(measure.name) is not measure]


def sources(names: Iterable[str], measures: Iterable[Measure]) -> list[str]:
    """Return the text of the modules that one's own measures are named and computed in.

    An edited one is another; what these modules import is not looked at. Where Python keeps no
    text, what is returned is never the same twice.

    Args:
        names: The words; of module:measure, the module counts.
        measures: What they name.
    """
    named = [word.partition(":")[0] for word in names if word not in MEASURES]
    computed = [_modules(measure.function) for measure in own(measures)]
    return [_text(name) for name in dict.fromkeys([*named, *itertools.chain(*computed)])]


def refuted(measures: Iterable[Measure], charts: Iterable[Chart]) -> dict[str, str]:
    """Return what is wrong with one's own measures that are said to stay, and do not, by name.

    Args:
        measures: What was measured.
        charts: What was drawn; the one of invariances tells by how much rescaling changed each.
    """
    told = [measure.name for measure in own(measures) if measure.invariant]
    sentences = {}
    for frame in (chart.data for chart in charts if chart.name == "invariances"):
        rescaled = frame[(frame["transformation"] == "random") & frame["measure"].isin(told)]
        for name, factor in zip(rescaled["measure"], rescaled["factor"], strict=True):
            if not 1 / _SAME <= factor <= _SAME:
                sentences[name] = (
                    f"said to stay when units are rescaled, but changes by a factor of {factor:.3g}"
                )
    return sentences


def _imported(text: str) -> Measure:
    found = resolve("names", text)
    if not isinstance(found, Measure):
        raise UsageError(
            f"`names` must name a gengap.measures.Measure; {text!r} is of type "
            f"{type(found).__name__}. Make it Measure(..., function={text.rpartition(':')[2]})."
        )
    return found


def _modules(function: Any) -> list[str]:
    """Return the names of the modules that a function, and what is bound to it, is written in."""
    if isinstance(function, functools.partial):
        bound = [function.func, *function.args, *function.keywords.values()]
        return [name for one in bound if callable(one) for name in _modules(one)]
    inner = getattr(function, "__wrapped__", None)
    written = inspect.getmodule(function)
    name = "" if written is None else written.__name__
    return [name, *(_modules(inner) if inner is not None else [])]


def _text(module: str) -> str:
    if module in sys.stdlib_module_names:
        return module
    try:
        return inspect.getsource(sys.modules[module])
    except (OSError, TypeError, KeyError):
        return uuid.uuid4().hex
