"""Robust means over the examples of all ranks."""

import torch
from torch import Tensor

from gengap.data import Ranks

from ._robust_mean import RobustMean

_BLOCK = 1 << 22  # numbers gathered at a time


def ranked_rows(mean: RobustMean, rows: Tensor, ranks: Ranks, whole: int) -> Tensor:
    """Return this rank's share of the means [*shape] over rows [b, *shape] of all ranks.

    Every rank gathers block after block of the coordinates and takes the means of its part of
    them; elsewhere the result is zero, so that the shares add up to the means.

    Args:
        mean: The mean to take.
        rows: This rank's rows.
        ranks: The processes.
        whole: Rows of all ranks together.
    """
    flat = rows[..., None].flatten(1)
    found = flat.new_zeros(flat.shape[1])
    size = max(1, _BLOCK // whole)
    for start in range(0, len(found), size):
        block = ranks.gathered(flat[:, start : start + size], whole)
        part = ranks.part(block.shape[1])
        if part.size:
            own = mean.of_rows(part.of(block, 1))
            found[start + part.start : start + part.stop] = own
    return found.view(rows.shape[1:])


def ranked_products(
    mean: RobustMean, left: Tensor, right: Tensor, ranks: Ranks, whole: int
) -> Tensor:
    """Return this rank's share of the means [o, d] of outer products of [b, o] and [b, d].

    Only the factors are gathered; every rank takes the means of its part of the o rows.
    """
    part = ranks.part(left.shape[1])
    left, right = ranks.gathered(left, whole), ranks.gathered(right, whole)
    found = torch.zeros(left.shape[1], right.shape[1], dtype=left.dtype, device=left.device)
    if part.size:
        part.of(found).copy_(mean.of_outer_products(part.of(left, 1), right))
    return found
