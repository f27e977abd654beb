"""Coherence of a sample of vectors, from sums over it that one pass gives."""

import math

from torch import Tensor

NAN = math.nan


def ratio(numerator: float, denominator: float) -> float:
    """Return a quotient; NaN over nothing."""
    return numerator / denominator if denominator else NAN


def sample_m_coherence(of_sum: float, of_each: float, n: int) -> float:
    r"""Return $\frac{\|\sum g_i\|^2}{\sum \|g_i\|^2}$, in [0, n]; NaN where all $g_i$ are zero.

    Args:
        of_sum: Squared norm of the sum.
        of_each: Sum of the squared norms.
        n: Number of vectors.
    """
    return min(max(ratio(of_sum, of_each), 0.0), float(n))  # of equal vectors, n but for rounding


def sample_unbiased_alpha(of_sum: float, of_each: float, n: int) -> float:
    r"""Return the mean inner product of two different vectors over the mean squared norm.

    $\hat\alpha = \frac{\|\sum g_i\|^2 - \sum \|g_i\|^2}{(n - 1) \sum \|g_i\|^2}$

    Numerator and denominator are unbiased; their ratio is to order $1/n$. In [-1/(n - 1), 1]; NaN
    where all $g_i$ are zero.

    Args:
        of_sum: Squared norm of the sum.
        of_each: Sum of the squared norms.
        n: Number of vectors.
    """
    value = ratio(of_sum - of_each, (n - 1) * of_each)
    return min(max(value, -1 / (n - 1)), 1.0) if n > 1 else value  # but for rounding


_CANCELLED = 16
"""Roundings of the terms of a sum below which it is taken for 0."""
_RESOLVED = 100
"""Roundings of a vector's square that what is left without it must hold to be told."""


def jackknife_error(
    of_sum: float, squared_norms: Tensor, dots: Tensor, *, rounding: float = 2.0**-52
) -> float:
    r"""Return the delete-one jackknife standard error of `sample_unbiased_alpha`.

    Without vector i, the squared norm of the sum is $\|S\|^2 - 2 \langle g_i, S \rangle +
    \|g_i\|^2$: the n estimates take O(n) time and no further pass. NaN for n < 3, and where one
    vector is all there is but for what its rounding hides.

    Args:
        of_sum: Squared norm of the sum $S$.
        squared_norms: $\|g_i\|^2$, [n].
        dots: $\langle g_i, S \rangle$, [n].
        rounding: Of the vectors' numbers, as a share of each.
    """
    n = len(squared_norms)
    squares = squared_norms.double()
    if n < 3 or bool(hides_others(squares, rounding).any()):
        return NAN
    of_each = sum_of_others(squares)
    of_sums = of_sum - 2 * dots.double() + squares
    return float(delete_one_error((of_sums - of_each) / ((n - 2) * of_each)))


def sum_of_others(values: Tensor) -> Tensor:
    """Return the sum of all but each of n numbers, [n]."""
    return values.sum() - values


def hides_others(squares: Tensor, rounding: float) -> Tensor:
    """Return which vectors are so long that their own rounding hides the others, bool [n]."""
    return sum_of_others(squares) <= _RESOLVED * rounding * squares


def delete_one_error(left_out: Tensor) -> Tensor:
    r"""Return the jackknife error $\sqrt{\frac{n - 1}{n} \sum_i (t_i - \bar t)^2}$, [...].

    Args:
        left_out: The estimates $t_i$ without one of n after the other, [n, ...].
    """
    n = len(left_out)
    return ((n - 1) / n * (left_out - left_out.mean(0)).square().sum(0)).sqrt()


def alignments(
    of_sum: float, squared_norms: Tensor, dots: Tensor, *, rounding: float = 2.0**-52
) -> Tensor:
    r"""Return the cosine of every vector and the mean of the others, [n], in [-1, 1].

    0 where one of the two is zero, or all that rounding shows of it: they have nothing in common.
    NaN where a vector is so long that its own rounding hides the others; arguments as of
    `jackknife_error`.
    """
    squares, dots = squared_norms.double(), dots.double()
    others = of_sum - 2 * dots + squares
    lost = others <= _CANCELLED * rounding * (of_sum + 2 * dots.abs() + squares)
    scale = (squares * others.clamp(min=0)).sqrt()
    lost |= scale == 0
    cosines = ((dots - squares) / scale.where(~lost, 1.0)).masked_fill(lost, 0)
    hidden = (sum_of_others(squares) > 0) & hides_others(squares, rounding)
    return cosines.clamp(-1, 1).masked_fill(hidden, NAN)
