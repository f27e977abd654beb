"""Loss and accuracy at many combinations of a few points, one pass each."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from gengap._checks import check_choice
from gengap._copies import copy_of
from gengap._functional import functional_call
from gengap._right import is_right
from gengap.data import Split
from gengap.risk import Risk

from ._batch_statistics import Statistics, batch_norm_layers, recomputed
from ._points import combine

Progress = Callable[[int, int], None]
"""Called with the number of points done and of all."""

IGNORED = -100
_HELD_FLOATS = 1 << 26


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Readings:
    """Mean loss and accuracy of each half at every point.

    Attributes:
        losses: Half to mean losses, float64 [k].
        accuracies: Half to shares of examples that are right, float64 [k], in [0, 1]; NaN where
            targets are real values.
    """

    losses: dict[str, Tensor]
    accuracies: dict[str, Tensor]


def read(
    risk: Risk,
    points: Sequence[Mapping[str, Tensor]],
    weights: Tensor,
    *,
    test: Split | None = None,
    batch_norm: Statistics = "exact",
    statistics: Split | None = None,
    progress: Progress | None = None,
) -> Readings:
    """Return loss and accuracy at weights times points, as "train" and "test".

    Args:
        risk: Model, loss and train half.
        points: The m points.
        weights: One row a combination, [k, m].
        test: The test half, if it is to be read too.
        batch_norm: "exact" or "average" recomputes the statistics of BatchNorm layers at every
            point, see `recomputed`; "keep" takes the model's.
        statistics: The split on which they are recomputed; None is the risk's.
        progress: Called after every point.
    """
    check_choice("batch_norm", batch_norm, ("exact", "average", "keep"))
    halves = {"train": risk} | ({} if test is None else {"test": risk.on(test)})
    batches = {name: _held(half) for name, half in halves.items()}
    model = copy_of(risk.model)
    own = batch_norm != "keep" and bool(batch_norm_layers(model))
    source = batches["train"] if statistics is None else _held(risk.on(statistics))
    values: dict[str, list[tuple[float, float]]] = {name: [] for name in halves}
    for turn, row in enumerate(weights.tolist()):
        found = combine(points, row)
        place = {name: value.to(risk.dtype) for name, value in found.items()}
        if own:
            xs = lambda: (x for x, _ in source())  # noqa: E731
            place |= recomputed(model, place, xs, exact=batch_norm == "exact")
        for name, half in halves.items():
            values[name].append(_one(half, model, place, batches[name]()))
        if progress is not None:
            progress(turn + 1, len(weights))
    columns = {name: torch.tensor(rows, dtype=torch.float64) for name, rows in values.items()}
    return Readings(
        losses={name: column[:, 0] for name, column in columns.items()},
        accuracies={name: column[:, 1] for name, column in columns.items()},
    )


def _one(
    risk: Risk,
    model: nn.Module,
    place: dict[str, Tensor],
    batches: Iterable[tuple[Tensor, Tensor]],
) -> tuple[float, float]:
    """Return mean loss and accuracy of one half at one point, in one pass."""
    loss = right = 0.0
    with torch.no_grad():
        for x, y in batches:
            outputs = functional_call(model, place, (x,))
            loss += float(risk.losses(outputs, y).double().sum())
            right += _right(outputs, y)
    return loss / risk.n, right / risk.n


def _right(outputs: Tensor, y: Tensor) -> float:
    """Return how many examples are right; of a sequence, the share of its positions."""
    if y.is_floating_point() or outputs.ndim != y.ndim + 1:
        return math.nan
    hits = is_right(outputs, y).double()
    if y.ndim == 1:
        return float(hits.sum())
    counted = (y != IGNORED).double()
    shares = (hits * counted).flatten(1).sum(1) / counted.flatten(1).sum(1).clamp(min=1)
    return float(shares.sum())


def _held(risk: Risk) -> Callable[[], Iterable[tuple[Tensor, Tensor]]]:
    """Return a way to the batches that makes them once, if they are small enough to hold."""
    width = max(1, torch.Size(risk.split.input_shape).numel())
    if risk.n * width > _HELD_FLOATS:
        return risk.batches
    made = list(risk.batches())
    return lambda: made
