"""What any measure says of a rescaled network."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from gengap.risk import Risk

Measured = Callable[[Risk], Any]


def number_of(result: Any) -> float:
    """Return a number, or the `value` of what a measure returned."""
    return float(getattr(result, "value", result))


def named(measure: Measured | Mapping[str, Measured] | Sequence[Measured]) -> dict[str, Measured]:
    """Return measures by name."""
    if isinstance(measure, Mapping):
        return dict(measure)
    several = [measure] if callable(measure) else list(measure)
    found: dict[str, Measured] = {}
    for number, one in enumerate(several):
        if not callable(one):
            raise TypeError(
                f"`measure` must be a function of a risk, or several; got {type(one).__name__}."
            )
        name = getattr(one, "name", None) or getattr(one, "__name__", "measure")
        found[str(name) if name not in found else f"{name} {number}"] = one
    return found


def with_model(risk: Risk, model: nn.Module) -> Risk:
    """Return the risk of another model on the same examples."""
    return Risk(
        model,
        risk.split,
        loss=risk.loss,
        chunk=risk.chunk,
        dtype=risk.dtype,
        device=risk.device,
    )


def ratio(after: float, before: float) -> float:
    """Return after over before; 1 where both are zero."""
    if after == before:
        return 1.0
    return after / before if before else math.copysign(math.inf, after)


def decades(factor: float) -> float:
    """Return how far a factor is from 1, either way, in logarithms; infinite if it changes sign."""
    return abs(math.log(factor)) if 0 < factor < math.inf else math.inf
