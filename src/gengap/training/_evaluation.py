"""Loss and accuracy of a stack of networks over whole splits."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gengap.data import Ranks

from ._feed import Feed
from ._losses import per_example_losses
from ._program import Program

_FLOATS_A_CHUNK = {"cpu": 1 << 21, "cuda": 1 << 26}
Watch = Callable[[Tensor, Tensor, Tensor, Tensor], None]
"""Takes outputs [l, b, c], targets, losses and rows [b] of a batch."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What one pass over a split in evaluation mode gives, one number a lane.

    Attributes:
        loss: Mean loss, without label smoothing.
        accuracy: Share of targets predicted, by a largest output that is finite; NaN for real
            targets.
        clean_accuracy: The same over examples that no corruption changed; NaN without any.
        corrupted_accuracy: The same over examples that a corruption changed; NaN without any.
        top_accuracy: Share of targets among the largest outputs; NaN where nobody asked.
    """

    loss: list[float]
    accuracy: list[float]
    clean_accuracy: list[float]
    corrupted_accuracy: list[float]
    top_accuracy: list[float]


def evaluate(
    program: Program,
    feed: Feed,
    *,
    loss: str,
    watch: Watch | None = None,
    ranks: Ranks | None = None,
    top: int | None = None,
) -> Evaluation:
    """Evaluate every lane on its own split. Cost: one forward pass; sums in float64.

    Args:
        program: The networks.
        feed: A split a lane.
        loss: "cross_entropy" or "squared_error".
        watch: Called with every batch.
        ranks: The processes that share the examples; None evaluates all of them here.
        top: How many of the largest outputs count for `top_accuracy`.
    """
    device = feed.valid.device
    room = _FLOATS_A_CHUNK.get(device.type, _FLOATS_A_CHUNK["cpu"])
    size = max(16, min(1024, room // (program.num_lanes * _width(feed))))
    zeros = torch.zeros(program.num_lanes, dtype=torch.float64, device=device)
    total, right, right_changed, right_top = (zeros.clone() for _ in range(4))
    ranks = ranks or Ranks()
    for x, y, rows in feed.in_order(size, ranks.part(max(feed.sizes))):
        valid, changed = feed.valid[:, rows], feed.changed[:, rows]
        outputs = program.outputs(x)
        losses = per_example_losses(outputs, y, loss=loss)
        if watch:
            watch(outputs, y, losses, rows)
        total += torch.where(valid, losses, 0).sum(1, dtype=torch.float64)
        if loss == "cross_entropy":
            known = valid & ~losses.isnan()
            hit = (outputs.argmax(-1) == y) & known
            right += hit.sum(1)
            right_changed += (hit & changed).sum(1)
            if top:
                right_top += (_among(outputs, y, top) & known).sum(1)
    total, right, right_changed, right_top = ranks.added([total, right, right_changed, right_top])
    n = feed.valid.sum(1).double()
    n_changed = (feed.changed & feed.valid).sum(1).double()
    if loss != "cross_entropy":
        right, right_changed = right * math.nan, right_changed * math.nan
    if loss != "cross_entropy" or not top:
        right_top = right_top * math.nan
    return Evaluation(
        loss=_numbers(total / n),
        accuracy=_numbers(right / n),
        clean_accuracy=_numbers((right - right_changed) / (n - n_changed)),
        corrupted_accuracy=_numbers(right_changed / n_changed),
        top_accuracy=_numbers(right_top / n),
    )


def _among(outputs: Tensor, y: Tensor, top: int) -> Tensor:
    """Return whether labels [l, b] are among the `top` largest of outputs [l, b, c]."""
    largest = outputs.topk(min(top, outputs.shape[-1]), dim=-1).indices
    return (largest == y[..., None]).any(-1)


def _width(feed: Feed) -> int:
    return max(1, math.prod(feed.splits[0].input_shape))


def _numbers(values: Tensor) -> list[float]:
    return [float(value) for value in values.cpu()]
