"""Sums over rows of numbers in float32, right to about 1e-6 within its range; and at its ends."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

_BLOCK = 4096
_LEAST, _MOST = 1e-26, 1e36
"""Between these, sums of float32 products have lost nothing to the ends of float32's range."""


def in_range(found: Tensor, again: Callable[[Tensor], Tensor]) -> Tensor:
    """Return sums of products, those near an end of float32's range taken once more.

    On the CPU only: elsewhere a look at the values would hold up what comes next.

    Args:
        found: Sums of float32 products, float64 [b].
        again: From rows, bool [b], to their sums in float64.
    """
    if found.device.type != "cpu" or not found.numel():
        return found
    sizes = found.abs()
    least, most = sizes.aminmax()
    if least.item() > _LEAST and most.item() < _MOST:
        return found
    odd = ~((sizes > _LEAST) & (sizes < _MOST))
    return found.masked_scatter(odd, again(odd))


def holds(found: Tensor) -> bool:
    """Whether float32 holds the products of which sums [b] were made: by the largest of these."""
    if found.device.type != "cpu":
        return True
    return _LEAST < found.abs().max().item() < _MOST


def squared_row_norms(rows: Tensor) -> Tensor:
    """Return the sum of squares of each row of [b, d], float64 [b].

    Pieces of at most 4,096 are summed in float32, the pieces in float64: as fast as a sum in
    float32, and no operand is converted. What is lost is about 4e-7, and below 1e-5.
    """
    if rows.dtype == torch.float64:
        return (rows * rows).sum(1)
    d = rows.shape[1]
    if d <= _BLOCK:
        return torch.linalg.vector_norm(rows, dim=1, dtype=torch.float32).double().square()
    count = _even_pieces(d)
    whole = d if count else d - d % _BLOCK
    pieces = rows[:, :whole].unflatten(1, (count or -1, whole // count if count else _BLOCK))
    norms = torch.linalg.vector_norm(pieces, dim=2, dtype=torch.float32)
    total = norms.square().sum(1, dtype=torch.float64)
    return total if whole == d else total + squared_row_norms(rows[:, whole:])


@cache
def _even_pieces(d: int) -> int:
    """Return into how many equal pieces of 2,048 to 4,096 a row falls; 0 where it does not."""
    least = -(-d // _BLOCK)
    return next((count for count in range(least, 2 * least) if d % count == 0), 0)


def row_dots(left: Tensor, right: Tensor) -> Tensor:
    """Return the inner products of the rows of two [b, d], float64 [b], summed likewise."""
    if left.dtype != torch.float64:
        left, right = left.float(), right.float()
    return sums_of_rows(left * right)


def sums_of_rows(products: Tensor) -> Tensor:
    """Return the sums of rows [b, d], float64 [b]: pieces of at most 4,096 in their dtype."""
    d = products.shape[1]
    if d <= _BLOCK:
        return products.sum(1).double()
    count = _even_pieces(d)
    whole = d if count else d - d % _BLOCK
    pieces = products[:, :whole].unflatten(1, (count or -1, whole // count if count else _BLOCK))
    total = pieces.sum(2).sum(1, dtype=torch.float64)
    return total if whole == d else total + products[:, whole:].sum(1).double()


def weighted_row_sums(rows: Tensor, weights: Tensor) -> Tensor:
    """Return rows [b, d] times weights [d], float64 [b]."""
    if rows.dtype == torch.float64:
        return rows @ weights.double()
    return (rows.float() @ weights.float()).double()


def row_gram(rows: Tensor) -> Tensor:
    """Return the inner products of all pairs of rows of [b, d], float64 [b, b].

    In the rows' own precision, once each is divided by a power of 2 near its largest entry.
    """
    if rows.dtype == torch.float64:
        return rows @ rows.T
    rows = rows.float()
    if not rows.numel():
        return rows.new_zeros(len(rows), len(rows), dtype=torch.float64)
    _, exponents = rows.abs().amax(1, keepdim=True).frexp()
    scaled = rows.ldexp(-exponents)
    return (scaled @ scaled.T).double().ldexp(exponents).ldexp(exponents.T)
