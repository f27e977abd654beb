"""A bound on the generalization gap, and whether it says anything."""

import math
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, kw_only=True)
class Bound:
    """An upper bound on error minus training error (at a margin, where there is one).

    Attributes:
        name: Of the bound.
        value: The bound, a share of examples; no gap exceeds 1.
        complexity: What it is made of, in `units`.
        units: Of the complexity.
        confidence: Probability with which it holds.
        source: Where it comes from.
        note: What it leaves out, or empty.
    """

    name: str
    value: float
    complexity: float
    units: str
    confidence: float
    source: str
    note: str = ""

    @property
    def vacuous(self) -> bool:
        """Whether it says no more than that a gap is at most 1."""
        return not self.value < 1

    @property
    def sentence(self) -> str:
        """Say what the bound is, and whether it says anything."""
        return said(f"The {self.name} bound on the gap", self.value)


def said(what: str, value: float) -> str:
    """Say of a bound on the gap what it is, and whether it says anything."""
    if not value < 1:
        return f"{what} is {_written(value)}: it is vacuous, as no gap exceeds 1."
    return f"{what} is {value:.3f}: it is not vacuous."


def tail(n: int, confidence: float) -> float:
    r"""Return $3 \sqrt{\ln(2 / \delta) / (2 n)}$, which a bound from a sample adds.

    Source:
        Bartlett and Mendelson (2002); Mohri, Rostamizadeh and Talwalkar (2018), theorem 3.3.
    """
    return 3 * math.sqrt(math.log(2 / (1 - confidence)) / (2 * n))


def _written(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "beyond any number"
