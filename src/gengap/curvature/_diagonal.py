"""The diagonal of a curvature, with standard errors."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gengap._checks import check_count, check_positive
from gengap._streams import streams
from gengap.gradients import sums_of_squares
from gengap.risk import Risk

from ._curvature import Curvature, as_curvature
from ._gauss_newton_diagonal import gauss_newton_diagonal, width_of_outputs
from ._probes import parts_of, signs

_AT_ONCE, _MOST_OUTPUTS = 4, 100


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Diagonal:
    r"""An unbiased estimate of every diagonal entry.

    Attributes:
        values: Entries, float64 [p].
        standard_errors: Of the entries, float64 [p]; from few draws, so trust their mean more
            than any of them. 0 where the diagonal was computed exactly.
        products: Vectors multiplied.
        converged: Whether the norm of the errors reached the share asked for.
    """

    values: Tensor
    standard_errors: Tensor
    products: int
    converged: bool


def diagonal(
    target: Risk | Curvature, *, standard_error: float = 0.1, most: int = 1000, seed: int = 0
) -> Diagonal:
    r"""Estimate the diagonal, $\operatorname{diag} H = \mathbb E\, z \odot H z$ for random signs z.

    Every one of many small parts of the split gets signs of its own, as in `trace`. Where no more
    than p products are needed to compute it exactly, they are made. That of the empirical Fisher
    and, with up to 100 outputs, of the Gauss-Newton matrix is exact, from squares of gradients
    (`gauss_newton_diagonal`), which are no products: one pass over the examples, or one an output.

    Args:
        target: A risk, for its Hessian, or a curvature.
        standard_error: Asked for: norm of the errors as a share of the norm of the diagonal.
        most: Products after which to stop in any case.
        seed: Of the random signs.

    Returns:
        The estimate; check `converged`.

    Source:
        Bekas, Kokiopoulou and Saad (2007); the parts are ours.
    """
    check_positive("standard_error", standard_error)
    check_count("most", most, least=2)
    operator, generator = as_curvature(target), streams(seed)("diagonal")
    exact = _exact(operator)
    if exact is not None:
        values = torch.cat([exact[name].flatten() for name in operator.names])
        error = torch.zeros_like(values)
        return Diagonal(values=values, standard_errors=error, products=0, converged=True)
    before, p = operator.products, operator.shape[0]
    parts, drawn = parts_of(operator), 0
    total = torch.zeros(p, dtype=torch.float64, device=operator.device)
    variance = torch.zeros_like(total)
    k = 2
    while True:
        mean, squares = _round(operator, parts, k, generator)
        total, variance, drawn = total + k * mean, variance + k * k * squares, drawn + k
        values, error = total / drawn, variance.sqrt() / drawn
        share = float(error.norm() / values.norm().clamp(min=1e-300))
        spent = operator.products - before
        reached = share <= standard_error
        if reached or spent + 2 > most:
            break
        need = drawn * (share / standard_error) ** 2 - drawn
        if drawn + need >= p and spent + p <= most:
            values, error, reached = operator.dense().diagonal(), torch.zeros_like(error), True
            break
        k = max(2, min(_AT_ONCE, most - spent))
    return Diagonal(
        values=values,
        standard_errors=error,
        products=operator.products - before,
        converged=reached,
    )


def _exact(operator: Curvature) -> dict[str, Tensor] | None:
    """Return the diagonal by name where squares of gradients give it, None for a Hessian."""
    risk = operator.risk
    if operator.kind == "empirical_fisher":
        return {name: value / risk.n for name, value in sums_of_squares(risk).items()}
    if operator.kind == "gauss_newton" and width_of_outputs(risk) <= _MOST_OUTPUTS:
        return gauss_newton_diagonal(risk)
    return None


def _round(
    operator: Curvature, parts: list[Risk], k: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return the mean of k draws [p] and its squared standard error [p]."""
    like = torch.empty(operator.shape[0], dtype=operator.dtype, device=operator.device)
    mean = torch.zeros(operator.shape[0], dtype=torch.float64, device=operator.device)
    squares, local = torch.zeros_like(mean), operator
    for part in parts:
        z, local = signs(k, like, generator), local.on(part, memory=0)
        draws = z * local.rows(z) * (part.n / operator.risk.n)
        mean += draws.mean(0)
        squares += draws.var(0) / k
    operator.products += k
    return mean, squares
