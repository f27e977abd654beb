"""A direction on which examples with different targets are far apart."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gengap._errors import DataError
from gengap._streams import streams

_CHUNK = 1 << 18  # entries of x in double precision at a time: they stay in the cache
_LEAST_BITS = 8
_SUMMED = 1 << 14
_MANTISSA = {torch.float64: 52, torch.float32: 23, torch.float16: 10, torch.bfloat16: 7}


def chunks(x: Tensor) -> Iterator[Tensor]:
    """Yield rows of examples in float64, a part that stays in the cache at a time."""
    flat = x.flatten(1)
    for part in flat.split(max(1, _CHUNK // max(1, flat.shape[1]))):
        yield part.double()


def project(x: Tensor, direction: Tensor) -> Tensor:
    """Return <a, x_i> in float64, shape [n]; the bits of one do not depend on the others.

    So many features at a time are summed that no thread shares a sum with another.
    """
    pieces = direction.split(_SUMMED)

    def summed(part: Tensor) -> Tensor:
        columns = zip(part.split(_SUMMED, dim=1), pieces, strict=True)
        return torch.stack([(some * a).sum(1) for some, a in columns]).sum(0)

    return torch.cat([summed(part) for part in chunks(x)])


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Projection:
    """A direction and what it does to the examples.

    Attributes:
        direction: Shape [d].
        exact: Whether every <a, x_i> is exact in float64, in whatever order it is summed.
        steepest: Largest difference of neighbours' targets over the gap between them.
        pair: The two examples of the largest.
    """

    direction: Tensor
    exact: bool
    steepest: float
    pair: tuple[int, int]


def choose_projection(x: Tensor, y: Tensor, *, tries: int, seed: int) -> Projection:
    """Return the one of a few random directions that asks for the smallest largest slope.

    Args:
        x: Examples, shape [n, ...].
        y: Targets in float64, shape [n, outputs].
        tries: Directions tried.
        seed: Root of the draws.

    Raises:
        DataError: An input is not finite, equal examples have different targets, or different
            examples fall on one number in every direction.
    """
    drawn, exact = _directions(x, tries=tries, seed=seed)
    projected = torch.cat([part @ drawn for part in chunks(x)])
    if not bool(projected.isfinite().all()):
        raise DataError("`x` must be small enough to sum in float64; divide it by its largest.")
    found = [_steepest(column, y) for column in projected.unbind(1)]
    best = min(range(tries), key=lambda i: found[i][0])
    steepest, pair = found[best]
    if not math.isfinite(steepest):
        _refuse(x, y, projected[:, best])
    return Projection(direction=drawn[:, best].clone(), exact=exact, steepest=steepest, pair=pair)


def _directions(x: Tensor, *, tries: int, seed: int) -> tuple[Tensor, bool]:
    """Draw directions, on a grid coarse enough for exact sums where the data allow one.

    Numbers of at least s with m bits after the first are multiples of s 2^-m: sums of absolute
    value below 2^53 grains times a grain are exact.
    """
    width = x[0].numel()
    drawn = torch.randn(width, tries, generator=streams(seed)("directions"), dtype=torch.float64)
    drawn /= drawn.abs().amax(0)
    total, grain = _sizes(x)
    if total == 0:
        return drawn, True
    coarse = math.frexp(total)[1] + 1 - 53 - grain
    if coarse > -_LEAST_BITS:
        return drawn, False
    return torch.round(drawn * 2.0**-coarse) * 2.0**coarse, True


def _sizes(x: Tensor) -> tuple[float, int]:
    """Return the largest sum of absolute values of a row, and the g of whose 2^g all are multiples.

    Raises:
        DataError: A value is not finite.
    """
    real = x.dtype.is_floating_point
    total, smallest, short = 0.0, math.inf, x.dtype == torch.float64
    for part in chunks(x):
        sizes = part.abs()
        sums = sizes.sum(1)
        if not bool(sums.isfinite().all()) and not bool(part.isfinite().all()):
            raise DataError("`x` must be finite; got NaN or infinity: leave those examples out.")
        total = max(total, float(sums.max()))
        if real:
            smallest = min(smallest, float(torch.where(sizes > 0, sizes, math.inf).min()))
            short = short and bool((part.float() == part).all())
    if not real or smallest == math.inf:
        return total, 0
    return total, math.frexp(smallest)[1] - 1 - (23 if short else _MANTISSA.get(x.dtype, 52))


def _steepest(t: Tensor, y: Tensor) -> tuple[float, tuple[int, int]]:
    """Return the largest slope between neighbours, and who they are."""
    order = torch.argsort(t, stable=True)
    steps = y[order].diff(dim=0).abs().amax(1)
    if not len(steps):
        return 0.0, (0, 0)
    slopes = torch.where(steps > 0, steps / t[order].diff(), 0.0)
    worst = int(slopes.argmax())
    return float(slopes[worst]), (int(order[worst]), int(order[worst + 1]))


def _refuse(x: Tensor, y: Tensor, t: Tensor) -> None:
    """Say which equal examples have different targets, or that different ones collide."""
    order = torch.argsort(t, stable=True)
    _, run = t[order].unique_consecutive(return_inverse=True)
    changes = (t[order].diff() == 0) & (y[order].diff(dim=0) != 0).any(1)
    members = order[torch.isin(run, run[1:][changes])]
    _, same = x[members].flatten(1).unique(dim=0, return_inverse=True)
    by_row = torch.argsort(same, stable=True)
    members, same = members[by_row], same[by_row]
    clash = (same.diff() == 0) & (y[members].diff(dim=0) != 0).any(1)
    if bool(clash.any()):
        at = int(clash.nonzero()[0])
        one, other = int(members[at]), int(members[at + 1])
        raise DataError(
            f"`x` must not hold one example with two targets; got examples {one} and {other}: "
            "leave one of them out."
        )
    one, other = (int(i) for i in order[int(changes.nonzero()[0]) :][:2])
    raise DataError(
        f"`x` must fall on different numbers on some direction; examples {one} and {other} are "
        "told apart by none in float64: scale the features alike, or try more directions (`tries`)."
    )
