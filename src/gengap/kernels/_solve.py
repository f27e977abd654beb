"""Solve (K + ridge I) a = y: directly, with refinement, or by iteration."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import final

import torch
from torch import Tensor

from gengap._streams import streams

from ._cholesky import Cholesky, NotPositiveError, cholesky
from ._conjugate_gradients import Iterates, conjugate_gradients
from ._kernel import Kernel, check_symmetric
from ._memory import check_memory, factor_bytes, free_bytes, iteration_bytes
from ._nystrom import nystrom
from ._panels import kernel_panels
from ._product import KernelProduct, rounding
from ._tell import Tell, silent, spoken

SAMPLED_ROWS = 128


@final
@dataclass(frozen=True, kw_only=True)
class Solution:
    """Coefficients and how good they are.

    `squared_norms` has a^T K a of each output, [c]; `residual` is ||y - (K + ridge I) a|| / ||y||,
    `residuals` the same after each product of an iteration (empty without one), `nugget` what had
    to be added to the diagonal to factor it.
    """

    coefficients: Tensor
    squared_norms: Tensor
    residual: float
    residuals: tuple[float, ...]
    solver: str
    nugget: float
    factor: Cholesky | None


@final
@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the estimators pass on; see `KernelInterpolator`."""

    ridge: float
    dtype: torch.dtype
    solver: str
    refine: bool
    tolerance: float
    max_iterations: int
    rank: int
    memory: int | None
    seed: int
    verbose: bool


def solve(kernel: Kernel, x: Tensor, y: Tensor, settings: Settings) -> Solution:
    """Solve for y of shape [n, c], x of shape [n, d], both float64 on the device to compute on.

    Raises:
        MemoryError: A direct solve was asked for that does not fit.
        ValueError: The kernel is not finite, or not positive.
    """
    direct, working = _direct(x, y, settings), x.to(settings.dtype)
    check_symmetric(kernel, x)
    exact = KernelProduct(kernel=kernel, x=x, ridge=settings.ridge)
    factor, nugget = None, 0.0
    tell = spoken() if settings.verbose else silent
    precondition: Callable[[Tensor], Tensor]
    if direct:
        factor, nugget = _factor(kernel, working, settings.ridge, tell)
        start, precondition, operator = factor.solve(y).to(y), factor.solve, exact
    else:
        generator, rank = streams(settings.seed)("nystrom"), min(settings.rank, len(x))
        near = nystrom(kernel, working, ridge=settings.ridge, rank=rank, generator=generator)
        start, precondition = near.start(y), near.precondition
        operator = KernelProduct(kernel=kernel, x=working, ridge=settings.ridge)

    def check(a: Tensor) -> float:
        rows = streams(settings.seed)("residual")
        return exact.residual(a, y, most=SAMPLED_ROWS, generator=rows)

    iterate = partial(
        conjugate_gradients,
        y=y,
        precondition=precondition,
        tolerance=settings.tolerance,
        most=settings.max_iterations,
        patience=3 if direct else 30,
        tell=tell,
    )
    if nugget:  # where y is not in the range of K, this is what can be had
        start = iterate(replace(exact, ridge=settings.ridge + nugget), start=start).x
    found = Iterates(x=start, remainder=torch.zeros_like(y), residual=math.inf, residuals=())
    if not direct or nugget or (settings.refine and settings.dtype == torch.float32):
        found = iterate(operator, start=start, check=check if direct and not nugget else None)
    residual = found.residual if direct and found.residuals else check(found.x)
    return Solution(
        coefficients=found.x,
        squared_norms=(found.x * (y - found.remainder - settings.ridge * found.x)).sum(0),
        residual=residual,
        residuals=found.residuals,
        solver="cholesky" if direct else "iterative",
        nugget=nugget,
        factor=factor,
    )


def _direct(x: Tensor, y: Tensor, settings: Settings) -> bool:
    """Say whether to factor: where asked, or where nothing is asked and there is the memory."""
    n, d = x.shape
    free = free_bytes(x.device) if settings.memory is None else settings.memory
    name = str(settings.dtype).removeprefix("torch.")
    needed = factor_bytes(n, d, y.shape[1], settings.dtype.itemsize)
    if settings.solver == "cholesky" or (
        settings.solver == "auto" and (free is None or needed <= free)
    ):
        check_memory(needed, free, n=n, dtype=name, what="The kernel matrix")
        return True
    rank = min(settings.rank, n)
    needed = iteration_bytes(n, d, y.shape[1], settings.dtype.itemsize, rank)
    check_memory(needed, free, n=n, dtype=name, what=f"The preconditioner of rank {rank}")
    return False


def _factor(kernel: Kernel, x: Tensor, ridge: float, tell: Tell) -> tuple[Cholesky, float]:
    """Factor K + ridge I, with a little more on the diagonal where rounding makes it indefinite.

    A matrix that is negative by more than rounding can make it is refused. Not less than 1.5e-8
    of the mean k(x, x): coefficients are of the size 1 / nugget, and their sums lose as many
    digits as the nugget does not.
    """

    def factored(diagonal: float) -> Cholesky:
        return cholesky(kernel_panels(kernel, x, ridge=diagonal, tell=tell), tell=tell)

    try:
        return factored(ridge), 0.0
    except NotPositiveError:
        pass
    most, failure = rounding(kernel, x), ""
    least = most / (10 * len(x) * torch.finfo(x.dtype).eps) * 1.5e-8
    most = max(most, least)
    for nugget in (max(most / len(x) ** 0.5, least), most):
        try:
            return factored(ridge + nugget), nugget
        except NotPositiveError as error:
            failure = str(error)
    raise ValueError(
        f"`kernel` must be positive semidefinite; got a matrix with an eigenvalue below "
        f"{-most - ridge:.3g} (found at {failure}). Take another kernel, or a larger ridge."
    )
