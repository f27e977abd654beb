"""Empirical Rademacher complexity of linear functions of bounded norm, with the exact supremum."""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gengap._checks import check_choice, check_count, check_positive
from gengap._streams import streams

_NORMS = (1.0, 2.0, math.inf)
_ENUMERATED = 14


@final
@dataclass(frozen=True, kw_only=True)
class LinearComplexity:
    """The empirical Rademacher complexity of a linear class.

    Attributes:
        value: The complexity, in units of the functions' values.
        standard_error: Over draws of the signs; 0 where all of them were gone through.
        upper: Closed-form upper bound on it.
        draws: Signs drawn, or all 2^n of them.
    """

    value: float
    standard_error: float
    upper: float
    draws: int

    @property
    def interval(self) -> tuple[float, float]:
        """The value plus and minus 1.96 standard errors."""
        return self.value - 1.96 * self.standard_error, self.value + 1.96 * self.standard_error


def linear_supremum(signs: Tensor, x: Tensor, *, radius: float = 1.0, norm: float = 2.0) -> Tensor:
    r"""Return $\sup_{\|w\|_p \le B} \frac1n \sum_i \sigma_i \langle w, x_i \rangle$, exactly.

    It is $\frac{B}{n} \|\sum_i \sigma_i x_i\|_q$ with the dual norm, $1/p + 1/q = 1$.

    Args:
        signs: Signs, one row a draw, [k, n].
        x: Examples, flattened, [n, d].
        radius: B, the largest norm of w. Positive.
        norm: p: 1, 2 or infinity.

    Returns:
        float64 [k].
    """
    check_positive("radius", radius)
    check_choice("norm", norm, _NORMS)
    dual = {1.0: math.inf, 2.0: 2.0, math.inf: 1.0}[norm]
    sums = signs.double() @ x.flatten(1).double()
    return radius * torch.linalg.vector_norm(sums, ord=dual, dim=1) / len(x)


def linear_complexity(
    x: Tensor, *, radius: float = 1.0, norm: float = 2.0, draws: int = 1000, seed: int = 0
) -> LinearComplexity:
    r"""Compute the empirical Rademacher complexity of linear functions of bounded norm.

    $\hat R = E_\sigma \frac{B}{n} \|\sum_i \sigma_i x_i\|_q$, the supremum exact for every draw,
    so that the estimate has no bias; all draws are gone through where there are at most 2^14.
    The upper bound is $\frac{B}{n} \sqrt{\sum_i \|x_i\|^2}$ for p = 2,
    $\frac{B}{n} \sqrt{2 \ln(2 d) \max_j \sum_i x_{ij}^2}$ for p = 1, and
    $\frac{B}{n} \sum_j \sqrt{\sum_i x_{ij}^2}$ for p = infinity.

    Args:
        x: Examples, [n, ...].
        radius: B, the largest norm of the weights. Positive.
        norm: p: 1, 2 or infinity.
        draws: Signs to draw; at least 2.
        seed: Of the draws.

    Source:
        Bartlett and Mendelson (2002), Rademacher and Gaussian complexities.
    """
    check_count("draws", draws, least=2)
    flat = x.flatten(1).double()
    n = len(flat)
    if n <= _ENUMERATED:
        bits = torch.arange(2**n)[:, None] >> torch.arange(n)
        found = linear_supremum(2 * (bits & 1) - 1, flat, radius=radius, norm=norm)
        error = 0.0
    else:
        found = linear_supremum(draw_signs(n, draws, seed), flat, radius=radius, norm=norm)
        error = float(found.std()) / draws**0.5
    squares = flat.square().sum(0)
    upper = {
        1.0: (2 * math.log(2 * flat.shape[1]) * squares.max()).sqrt(),
        2.0: squares.sum().sqrt(),
        math.inf: squares.sqrt().sum(),
    }[norm]
    return LinearComplexity(
        value=float(found.mean()),
        standard_error=error,
        upper=radius * float(upper) / n,
        draws=len(found),
    )


def draw_signs(n: int, draws: int, seed: int) -> Tensor:
    """Return uniform signs, a row a draw, int64 [draws, n]; each row has a stream of its own."""
    rows = [torch.randint(2, (n,), generator=streams(seed)("signs", k)) for k in range(draws)]
    return 2 * torch.stack(rows) - 1
