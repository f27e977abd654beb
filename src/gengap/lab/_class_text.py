"""The text of a class, and which of its methods do not stand in it."""

import functools
import inspect
import types
from typing import Any

NO_SOURCE = (OSError, TypeError, SyntaxError, IndexError)


def class_text(kind: type) -> tuple[str | None, frozenset[str]]:
    """Return the text that Python finds for a class, and the names of methods that stand elsewhere.

    Python 3.11 finds a class by its name: of two of one name in a module, the first. The text is
    None where Python keeps none; methods that were made without any are not among the names.
    """
    try:
        whole, first = inspect.findsource(kind)
        block = inspect.getblock(whole[first:])
    except NO_SOURCE:
        return None, frozenset()
    inside = range(first, first + len(block))
    elsewhere = []
    for name, value in vars(kind).items():
        method = bare_method(value)
        if isinstance(method, types.FunctionType) and is_of(method, kind):
            try:
                lines, start = inspect.findsource(inspect.unwrap(method))
            except (*NO_SOURCE, ValueError):  # the last: wrapped in itself
                continue
            if lines != whole or start not in inside:
                elsewhere.append(name)
    return "".join(block), frozenset(elsewhere)


def bare_method(value: Any) -> Any:
    """Return the function of a static or class method or of a property; else the value."""
    if isinstance(value, functools.cached_property):
        return value.func
    for inner in ("__func__", "fget"):
        value = getattr(value, inner, value)
    return value


def is_of(method: types.FunctionType, kind: type) -> bool:
    """Whether a function calls itself a method of a class."""
    return method.__qualname__.startswith(f"{kind.__qualname__}.")
