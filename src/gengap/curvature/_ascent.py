"""Ascent to the largest value of a function on a convex set."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from torch import Tensor

from ._regions import Region

Function = Callable[[Tensor], tuple[float, Tensor]]
_HALVINGS = 10
_TOLERANCE = 1e-8


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Ascent:
    """Where an ascent ended.

    Attributes:
        at: The point with the largest value found.
        value: The value there.
        evaluations: How often the function and its gradient were computed.
        message: Why it ended.
    """

    at: Tensor
    value: float
    evaluations: int
    message: str


def ascend(function: Function, region: Region, start: Tensor, *, steps: int) -> Ascent:
    """Follow the gradient of a function inside a convex set, to ever larger values.

    Projected gradient ascent that tries the longest step first: to the point of the set that lies
    furthest along the gradient, then half as far, until the value rises. Of a convex function the
    longest step always raises the value; of a quadratic on a ball it is the power method.

    Args:
        function: A point to value and gradient.
        region: The set, which holds `start`.
        start: Where to begin.
        steps: Most steps.
    """
    (value, gradient), at, spent = function(start), start, 1
    first = value
    for _ in range(steps):
        target, step = region.furthest(gradient), 1.0
        for _ in range(_HALVINGS + 1):
            candidate = at + step * (target - at)
            found, next_gradient = function(candidate)
            spent += 1
            if found > value:
                break
            step /= 2
        else:
            return Ascent(at=at, value=value, evaluations=spent, message="no step rises further")
        gained, at, value, gradient = found - value, candidate, found, next_gradient
        if gained <= _TOLERANCE * (value - first):
            return Ascent(at=at, value=value, evaluations=spent, message="converged")
    return Ascent(at=at, value=value, evaluations=spent, message=f"stopped after {steps} steps")
