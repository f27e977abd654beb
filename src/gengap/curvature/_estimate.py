"""A number estimated from random vectors, with its error."""

from dataclasses import dataclass
from typing import final

from gengap._checks import check_probability


@final
@dataclass(frozen=True, kw_only=True)
class Estimate:
    """An unbiased estimate and what is known of its error.

    Attributes:
        value: The estimate.
        standard_error: Of the value, in its units; 0 where it was computed exactly.
        degrees: Degrees of freedom behind the standard error; inf where it is exact.
        products: Vectors multiplied; a fraction where a part of the examples was.
        converged: Whether the standard error asked for was reached.
    """

    value: float
    standard_error: float
    degrees: float
    products: float
    converged: bool

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return Student's interval around the value at a confidence in [0, 1]."""
        from scipy.stats import t

        check_probability("confidence", confidence)
        if not self.standard_error:
            return self.value, self.value
        half = float(t.ppf((1 + confidence) / 2, self.degrees)) * self.standard_error
        return self.value - half, self.value + half
