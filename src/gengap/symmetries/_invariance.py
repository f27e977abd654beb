"""By which factor measures change while the function stays."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import pandas as pd
import torch
from torch import Tensor, nn

from gengap._checks import check_count, check_positive
from gengap._streams import streams
from gengap.data import Split
from gengap.risk import Loss, Risk

from ._blocks import spread
from ._difference import difference
from ._evaluate import Measured, decades, named, number_of, ratio, with_model
from ._find import find
from ._permutations import random_order
from ._symmetries import Symmetries


@final
@dataclass(frozen=True, kw_only=True)
class _Case:
    """A network with its symmetries, and how to evaluate a rescaled one."""

    risk: Risk
    found: Symmetries

    def changed(self, model: nn.Module, measure: Measured) -> tuple[float, float]:
        """Return the measure of a changed model, and how far its function moved."""
        x = next(iter(self.risk.batches()))[0]
        moved = difference(self.risk.model, model, (x,))
        return number_of(measure(with_model(self.risk, model))), moved

    def rescaled(self, log_scales: Tensor, measure: Measured) -> tuple[float, float]:
        """Return the measure after a rescaling, and how far the function moved."""
        return self.changed(self.found.apply(self.risk.model, log_scales), measure)


def invariance(
    measure: Measured | Mapping[str, Measured] | Sequence[Measured],
    model: nn.Module,
    split: Split,
    *,
    loss: str | Loss = "cross_entropy",
    symmetries: Symmetries | None = None,
    factor: float = 100.0,
    draws: int = 5,
    sweeps: int = 1,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    chunk: int | None = None,
) -> pd.DataFrame:
    """Measure a network again after changes that keep its function, and report the factors.

    Args:
        measure: A function of a `Risk` that returns a number (or something with a `value`), a
            `Measure`, or several of them: a list, or a dictionary by name.
        model: Any module; copied.
        split: The examples.
        loss: As for `Risk`.
        symmetries: What `find` returned; None finds them.
        factor: Each unit's factor lies between 1 / factor and factor.
        draws: Random rescalings, a factor a unit, drawn log-uniformly.
        sweeps: Sweeps of the search for the worst rescaling, a factor a layer: each layer in turn
            is set to 1 / factor, 1 or factor, whichever changes the measure most. 0 leaves it out.
        seed: Of factors and orders.
        dtype: To compute in; in float32 rounding moves measures that take differences.
        chunk: As for `Risk`.

    Returns:
        A frame with a row a measure and transformation ("permuted", "random", "worst"):
        `value` before, `after`, `factor` = after / before (of the draw that changed most),
        `evaluations`, and `difference`, the largest relative difference of outputs among the
        changed networks. A measure is invariant if the factors are 1.

    Raises:
        ValueError: The model has nothing to rescale.

    Cost: 3 + draws + 4 times sweeps times layers evaluations of each measure.

    Source:
        The test is that of Dinh et al. (2017), arXiv:1703.04933; the search is ours.
    """
    check_positive("factor", factor)
    check_count("draws", draws)
    check_count("sweeps", sweeps, least=0)
    risk = Risk(model, split, loss=loss, dtype=dtype, chunk=chunk)
    found = symmetries or find(risk.model, next(iter(risk.batches()))[0])
    if not found.num_scales:
        raise ValueError("`model` must have units to rescale; `find(model)` says why it has none.")
    case, rows = _Case(risk=risk, found=found), []
    for name, one in named(measure).items():
        before = number_of(one(with_model(risk, risk.model)))  # a copy, which it may change
        for transformation, after, moved, count in _changes(case, one, before, factor, draws, seed):
            rows.append((name, transformation, before, after, moved, count))
        if sweeps:
            rows.append((name, "worst", before, *_worst(case, one, before, factor, sweeps)))
    frame = pd.DataFrame(
        rows, columns=["measure", "transformation", "value", "after", "difference", "evaluations"]
    )
    factors = [ratio(a, b) for a, b in zip(frame["after"], frame["value"], strict=True)]
    frame.insert(4, "factor", factors)
    return frame


def _changes(
    case: _Case, measure: Measured, before: float, factor: float, draws: int, seed: int
) -> list[tuple[str, float, float, int]]:
    """Return name, value, difference and evaluations of the random changes."""
    found, rows = case.found, []
    if found.permutations:
        order = random_order(found.exchange, found.exchange.classes, seed)
        after, moved = case.changed(found.permute(case.risk.model, order), measure)
        rows.append(("permuted", after, moved, 1))
    most = math.log(factor)
    results = []
    for number in range(draws):
        generator = streams(seed)("factors", number)
        draw = torch.rand(found.num_scales, generator=generator, dtype=torch.float64)
        results.append(case.rescaled((2 * draw - 1) * most, measure))
    after = max((value for value, _ in results), key=lambda value: decades(ratio(value, before)))
    rows.append(("random", after, max(moved for _, moved in results), draws))
    return rows


def _worst(
    case: _Case, measure: Measured, before: float, factor: float, sweeps: int
) -> tuple[float, float, int]:
    """Return the value furthest from the one before, the largest difference, evaluations."""
    moves: list[float] = []

    def evaluate(log_factors: Tensor) -> float:
        value, moved = case.rescaled(spread(case.found, log_factors), measure)
        moves.append(moved)
        return value

    ends = [
        _climb(evaluate, before, sign, math.log(factor), len(case.found.rescalings), sweeps)
        for sign in (1.0, -1.0)
    ]
    return max(ends, key=lambda v: decades(ratio(v, before))), max(moves, default=0.0), len(moves)


def _climb(
    evaluate: Callable[[Tensor], float],
    before: float,
    sign: float,
    most: float,
    places: int,
    sweeps: int,
) -> float:
    """Move one layer's log-factor at a time to an end if that makes the value larger (smaller)."""
    current, best = torch.zeros(places, dtype=torch.float64), before
    for _ in range(sweeps):
        for place in range(places):
            start = float(current[place])
            for end in (-most, most):
                if end == start:
                    continue
                trial = current.clone()
                trial[place] = end
                value = evaluate(trial)
                if sign * value > sign * best:
                    current, best = trial, value
    return best
