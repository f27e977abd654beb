"""Preconditioned conjugate gradients for several right-hand sides at once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ._product import KernelProduct
from ._tell import Tell, silent


@final
@dataclass(frozen=True, kw_only=True)
class Iterates:
    """Where the iteration ended.

    `residual` is ||y - A x|| / ||y||, Frobenius; `residuals` the same after each product, whose
    smallest it is; `remainder` is y - A x.
    """

    x: Tensor
    remainder: Tensor
    residual: float
    residuals: tuple[float, ...]


def conjugate_gradients(
    operator: KernelProduct,
    y: Tensor,
    *,
    precondition: Callable[[Tensor], Tensor],
    start: Tensor,
    tolerance: float,
    most: int,
    patience: int,
    check: Callable[[Tensor], float] | None = None,
    tell: Tell = silent,
) -> Iterates:
    """Solve A x = y for y of shape [n, c]; each column has its own steps.

    With a float32 factor of A as the preconditioner this is iterative refinement whose step
    lengths are fitted, so that it converges where plain refinement diverges. The directions are
    those of the flexible method, which bears a preconditioner that rounds. Returned is the
    iterate of the smallest residual; where y is not in the range of A none gets below a floor.

    Args:
        operator: A.
        y: Right-hand sides.
        precondition: About A^-1.
        start: The first x, of the shape of y.
        tolerance: The relative residual at which to stop.
        most: Products with A, at most.
        patience: Products after which to stop if the residual has not fallen by a tenth.
        check: Estimates the relative residual of an x for less than a product. If given, the full
            first step is tried, which after a good factor is all that is needed.
        tell: Told the residual after every product.

    Raises:
        ValueError: A direction of negative curvature was met: A is not positive.
    """
    size = float(y.norm())
    if size == 0:
        return Iterates(x=torch.zeros_like(y), remainder=y, residual=0.0, residuals=(0.0,))
    x, r = start, y - operator @ start
    best = x, r
    least = bar = float(r.norm()) / size
    residuals, waited = [least], 0
    p = last = torch.zeros_like(y)
    rz = torch.zeros(y.shape[1], dtype=y.dtype, device=y.device)
    while least > tolerance and len(residuals) < most and waited < patience:
        z = precondition(r).to(y)
        if check is not None and len(residuals) == 1:
            estimate = check(x + z)
            if estimate <= tolerance:
                done, past = torch.zeros_like(y), (*residuals, estimate)
                return Iterates(x=x + z, remainder=done, residual=estimate, residuals=past)
        beta = _quotient((z * (r - last)).sum(0), rz)
        rz, last = (z * r).sum(0), r
        p = z + beta * p
        q = operator @ p
        curvature = (p * q).sum(0)
        _check_curvature(curvature, p, operator.rounding)
        step = _quotient(rz, curvature)
        x, r = x + step * p, r - step * q
        residuals.append(float(r.norm()) / size)
        tell(
            f"relative residual {residuals[-1]:.2g} after {len(residuals)} products of at most "
            f"{most}, to reach {tolerance:g}"
        )
        if residuals[-1] < least:
            best, least = (x, r), residuals[-1]
        waited = 0 if least < 0.9 * bar else waited + 1
        bar = bar if waited else least
    return Iterates(x=best[0], remainder=best[1], residual=least, residuals=tuple(residuals))


def _quotient(above: Tensor, below: Tensor) -> Tensor:
    """Return the quotient, and 0 where a column is done."""
    return torch.where(below > 0, above / torch.where(below > 0, below, 1), 0)


def _check_curvature(curvature: Tensor, p: Tensor, rounding: float) -> None:
    lowest = float(_quotient(curvature, p.square().sum(0)).min())
    if lowest < -rounding:
        raise ValueError(
            "`kernel` must be positive semidefinite; got one whose matrix has a negative "
            f"eigenvalue, {lowest:.3g} or less. Take another kernel, or a ridge that outweighs it."
        )
