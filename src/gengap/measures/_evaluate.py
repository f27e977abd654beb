"""Every measure of a trained network, a row each."""

import copy
import math
import time
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gengap._checks import check_choice, check_count
from gengap._copies import copy_of
from gengap.data import Split
from gengap.risk import Loss, Risk, check_finite

from ._catalogue import MEASURES
from ._measure import Measure, Question, Value

if TYPE_CHECKING:
    import pandas as pd


Row = dict[str, object]


def evaluate(
    model: nn.Module,
    train: Split,
    test: Split | None = None,
    *,
    names: Sequence[str | Measure] | None = None,
    loss: str | Loss = "cross_entropy",
    seed: int = 0,
    chunk: int | None = None,
    device: torch.device | str | None = None,
    progress: Callable[[Measure], None] | None = None,
    kept: MutableMapping[str, Row] | None = None,
) -> "pd.DataFrame":
    """Compute measures of a trained network, one row each.

    The network is copied and put in evaluation mode; a measure of your own gets a copy of its own,
    and of the tensors of the examples, which it may change. A measure that cannot be computed is
    a row whose value is NaN and whose note says why.

    Args:
        model: The network.
        train: The examples to measure on, as a rule those it was trained on.
        test: Other examples, for the gap; None leaves the measures that need them out.
        names: Which measures: names of `gengap.measures.catalogue()`, or measures of your own;
            None is all.
        loss: As of `gengap.Risk`.
        seed: Of whatever is drawn.
        chunk: Examples in one pass; None chooses.
        device: Where to compute; None is where the model is.
        progress: Called with every measure before it is computed.
        kept: Rows by name. Those that are there are taken as they are, and new ones are put
            there as they come, so that a run that was stopped can go on.

    Returns:
        A frame: name, value, standard_error (0 exact, NaN a bound or unknown), units, cost (in
        forward-and-backward passes over the examples), seconds, invariant (whether it stays when
        a rescaling of the weights keeps the function; None: see the note), note.

    Raises:
        ValueError: A name is not known, the network has nothing to train or is not finite.
    """
    import pandas as pd

    check_count("seed", seed, least=0)
    chosen = _chosen(names, with_test=test is not None)
    risk = Risk(model, train, loss=loss, chunk=chunk, device=device)
    check_finite(risk)
    question = Question(risk=risk, test=risk.on(test) if test is not None else None, seed=seed)
    rows = []
    for measure in chosen:
        if progress is not None:
            progress(measure)
        row = kept.get(measure.name) if kept is not None else None
        if row is None:
            row = _row(measure, question)
            if kept is not None:
                kept[measure.name] = row
        rows.append(row)
    return pd.DataFrame(rows).astype({"invariant": object})


def _chosen(names: Sequence[str | Measure] | None, *, with_test: bool) -> list[Measure]:
    if names is None:
        needing = ("test_loss", "test_accuracy", "gap")
        return [m for m in MEASURES.values() if with_test or m.name not in needing]
    if isinstance(names, str) or not names:
        example = f" Give [{names!r}]." if isinstance(names, str) and names else ""
        raise ValueError(f"`names` must be a list of at least one name; got {names!r}.{example}")
    found = []
    for name in names:
        if isinstance(name, str):
            check_choice("names", name, MEASURES)
        found.append(MEASURES[name] if isinstance(name, str) else name)
    _check_told_apart(found)
    return found


def _check_told_apart(measures: Sequence[Measure]) -> None:
    """Require that two measures do not share a name: rows are known by it."""
    by_name = dict(reversed([(measure.name, measure) for measure in measures]))
    for measure in measures:
        if by_name[measure.name] is not measure:
            raise ValueError(
                f"`names` must hold one measure of a name; got two that are called "
                f"{measure.name!r}. Rename one."
            )


def _row(measure: Measure, question: Question) -> Row:
    start = time.perf_counter()
    try:
        own = MEASURES.get(measure.name) is not measure
        value = measure.function(_apart(question) if own else question)
        if not isinstance(value, Value):
            raise TypeError(f"its function must return a Value; got {type(value).__name__}")
        return _told(measure, value, start)
    except (Exception, SystemExit) as error:  # one measure must not cost the others
        reason = " ".join(str(error).split()) or "no message"
        value = Value(
            value=math.nan, standard_error=math.nan, passes=math.nan,
            note=f"{'' if isinstance(error, ValueError) else type(error).__name__ + ': '}{reason}",
        )  # fmt: skip
    return _told(measure, value, start)


def _told(measure: Measure, value: Value, start: float) -> Row:
    caveat = measure.caveat if measure.invariant is None else ""
    return {
        "name": measure.name,
        "value": value.value,
        "standard_error": value.standard_error,
        "units": measure.units,
        "cost": value.passes,
        "seconds": time.perf_counter() - start,
        "invariant": measure.invariant,
        "note": "; ".join(filter(None, (value.note, _not_finite(value), caveat))),
    }


def _apart(question: Question) -> Question:
    """Return the question about copies: what is done to them stays there.

    The network is copied, and the tensors of the examples; a Source is not. Nothing is known.
    """
    model = copy_of(question.risk.model)

    def of_copy(risk: Risk) -> Risk:
        other = copy.copy(risk)
        other.model, other.split = model, _copied(risk.split)
        return other

    test = question.test and of_copy(question.test)
    return replace(question, risk=of_copy(question.risk), test=test, known={})


def _copied(split: Split) -> Split:
    inputs = split.inputs.clone() if isinstance(split.inputs, Tensor) else split.inputs
    return replace(
        split,
        inputs=inputs,
        targets=split.targets.clone(),
        changed=split.changed.clone(),
        true_targets=split.true_targets.clone(),
    )


def _not_finite(value: Value) -> str:
    """Say of a value without a reason that it is no number that JSON could hold."""
    if math.isinf(value.value):
        return f"the value is {'' if value.value > 0 else 'minus '}infinity, which JSON has as null"
    return "the value came out as NaN" if math.isnan(value.value) and not value.note else ""
