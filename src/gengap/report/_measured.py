"""A mean with its spread, and how numbers are written in reports."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Integral, Real
from statistics import fmean, stdev
from typing import Any, Self, final

MISSING = "–"

Format = str | Callable[[Any], str]


@final
@dataclass(frozen=True, kw_only=True)
class Measured:
    """The mean of a few repetitions with its spread, as one cell of a table.

    Formats like a number: a Python format code applies to mean and spread alike.

    Attributes:
        mean: Mean of the repetitions; NaN where there are none.
        spread: Standard deviation over the repetitions (divisor count - 1), in the units of the
            mean; NaN for fewer than two.
        count: Number of repetitions.

    Examples:
        >>> f"{Measured.of([0.96, 0.98]):.1%}"
        '97.0 ± 1.4%'
    """

    mean: float
    spread: float = math.nan
    count: int = 1

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Return mean and standard deviation of `values`, leaving out those that are NaN."""
        kept = [float(value) for value in values if not math.isnan(value)]
        if not kept:
            return cls(mean=math.nan, count=0)
        if not all(map(math.isfinite, kept)):
            return cls(mean=math.inf, count=len(kept))
        spread = stdev(kept) if len(kept) > 1 else math.nan
        return cls(mean=fmean(kept), spread=spread, count=len(kept))

    def __format__(self, code: str) -> str:
        if math.isnan(self.mean):
            return MISSING
        mean = format(self.mean, code or ".4g")
        if math.isnan(self.spread):
            return mean
        unsigned = code.removeprefix("+")
        if code.endswith("%"):
            return f"{mean.removesuffix('%')} ± {format(self.spread, unsigned)}"
        return f"{mean} ± {format(self.spread, unsigned or '.2g')}"


def is_missing(value: object) -> bool:
    """Say whether a cell holds nothing: None, NaN or a missing value of pandas."""
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return True
    if isinstance(value, Measured):
        return math.isnan(value.mean)
    return isinstance(value, Real) and math.isnan(value)


def is_number(value: object) -> bool:
    """Say whether a cell reads as a number, so that its column is aligned to the right."""
    if isinstance(value, Measured):
        return True
    return isinstance(value, Real) and type(value).__name__ not in {"bool", "bool_"}


def write_value(value: Any, form: Format | None = None) -> str:
    """Write one cell as text.

    Args:
        value: What the cell holds.
        form: A Python format code (".1%", ",d", ".3g"), a function, or None for the usual form:
            whole numbers with thousands marks, others with four digits.
    """
    if is_missing(value):
        return MISSING
    if callable(form):
        return form(value)
    if not is_number(value):
        return (
            ("yes" if value else "no") if type(value).__name__ in {"bool", "bool_"} else str(value)
        )
    if form:
        return format(int(value) if form.endswith("d") else value, form)
    if isinstance(value, Measured):
        return format(value, "")
    return format(int(value), ",d") if isinstance(value, Integral) else format(float(value), ".4g")
