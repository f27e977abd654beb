"""What a measure of sharpness found, and what it took."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from ._ascent import Ascent
from ._flat_risk import FlatRisk


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Sharpness:
    """The rise of the loss around a point, and the effort behind the number.

    A maximum is the largest rise that was found: a lower bound, which more starts or iterations
    can only raise. An average has a standard error.

    Attributes:
        value: The sharpness, in the units that the measure states.
        standard_error: Of an average, in the same units; NaN where the value is a maximum.
        loss: The loss at the point itself.
        rises: Loss minus `loss`: the largest from each start, or each draw of an average.
        evaluations: How often the loss was computed on all examples.
        passes: What that cost, in forward-and-backward passes over the examples.
        messages: How the search from each start ended.
        displacement: Where the largest rise is, float64 [p] from the point; None of an average.
    """

    value: float
    standard_error: float = math.nan
    loss: float
    rises: tuple[float, ...]
    evaluations: int
    passes: float
    messages: tuple[str, ...] = ()
    displacement: Tensor | None = field(default=None, repr=False)

    @property
    def spread(self) -> float:
        """Largest minus smallest rise over the starts, as a share of the largest.

        In [0, 1] where all are rises; 0 says that all starts found the same. NaN where no start
        found a rise.
        """
        top = max(self.rises)
        return (top - min(self.rises)) / top if top > 0 else math.nan

    def __float__(self) -> float:
        return self.value


def largest_rise(
    flat: FlatRisk,
    found: Sequence[Ascent],
    *,
    factor: float = 1.0,
    push: Callable[[Tensor], Tensor] = lambda at: at,
) -> Sharpness:
    """Return the sharpness that searches from several starts found; 0 where nothing rises.

    Args:
        flat: The risk.
        found: Where each search ended; at least one.
        factor: From the rise to the value.
        push: From a point of the search to a displacement [p].
    """
    best = max(found, key=lambda ascent: ascent.value)
    risen = best.value > flat.loss
    return Sharpness(
        value=factor * (best.value - flat.loss) if risen else 0.0,
        loss=flat.loss,
        rises=tuple(ascent.value - flat.loss for ascent in found),
        evaluations=sum(ascent.evaluations for ascent in found),
        passes=flat.passes,
        messages=tuple(ascent.message for ascent in found),
        displacement=push(best.at) if risen else torch.zeros_like(flat.start),
    )
