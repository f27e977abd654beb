"""Coherence of a sample of vectors, from sums over it that one pass gives."""

import math

from torch import Tensor

NAN = math.nan


def ratio(numerator: float, denominator: float) -> float:
    """Return a quotient; NaN over nothing."""
    return numerator / denominator if denominator else NAN


def sample_m_coherence(of_sum: float, of_each: float) -> float:
    r"""Return $\|\sum g_i\|^2 / \sum \|g_i\|^2$, in [0, n]; NaN where all $g_i$ are zero.

    Args:
        of_sum: Squared norm of the sum.
        of_each: Sum of the squared norms.
    """
    return ratio(of_sum, of_each)


def sample_unbiased_alpha(of_sum: float, of_each: float, n: int) -> float:
    r"""Return the mean inner product of two different vectors over the mean squared norm.

    $\hat\alpha = \frac{\|\sum g_i\|^2 - \sum \|g_i\|^2}{(n - 1) \sum \|g_i\|^2}$

    Numerator and denominator are unbiased; their ratio is to order $1/n$. In [-1/(n - 1), 1].
    """
    return ratio(of_sum - of_each, (n - 1) * of_each)


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
    if n < 3:
        return NAN
    squares = squared_norms.double()
    of_each = squares.sum() - squares
    if not bool((of_each > _RESOLVED * rounding * squares).all()):
        return NAN
    of_sums = of_sum - 2 * dots.double() + squares
    left_out = (of_sums - of_each) / ((n - 2) * of_each)
    return math.sqrt((n - 1) / n * float((left_out - left_out.mean()).square().sum()))


def alignments(
    of_sum: float, squared_norms: Tensor, dots: Tensor, *, rounding: float = 2.0**-52
) -> Tensor:
    r"""Return the cosine of every vector and the mean of the others, [n], in [-1, 1].

    0 where one of the two is zero: they have nothing in common. NaN where a vector is so long that
    its own rounding hides the others; arguments as of `jackknife_error`.
    """
    squares, dots = squared_norms.double(), dots.double()
    others = (of_sum - 2 * dots + squares).clamp(min=0)
    scale = (squares * others).sqrt()
    cosines = (dots - squares) / scale.where(scale > 0, 1.0)
    of_each = squares.sum() - squares
    hidden = (of_each > 0) & (of_each < _RESOLVED * rounding * squares)
    return cosines.clamp(-1, 1).masked_fill(hidden, NAN)
