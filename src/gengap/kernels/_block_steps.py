"""The steps of a blocked factorization, in place, on one block each."""

import torch
from torch import Tensor

from gengap._linear import linear

NARROW, TALL = 64, 1024
"""Columns that are taken as rows; rows of a block in one product with them."""
LEAF = 256
"""Columns that are divided without a product."""


def times(block: Tensor, columns: Tensor) -> Tensor:
    """Return block columns; a few are taken as rows, which BLAS does up to 9 times faster.

    1,024 rows of the block at once: twice as fast as many thousands.
    """
    if columns.shape[1] > NARROW:
        return block @ columns
    rows = columns.T.contiguous()
    return torch.cat([rows @ part.T for part in block.split(TALL)], 1).T


def subtract_product(block: Tensor, left: Tensor, right: Tensor) -> None:
    """Subtract left right^T from the block."""
    if block.dtype == torch.float64 or block.is_cuda:
        block.addmm_(left, right.T, alpha=-1)
    else:
        block.sub_(linear(left, right))


def factor(block: Tensor) -> int:
    """Overwrite a square block with its Cholesky factor; return 0, or the row that failed from 1.

    Of the block only the lower half is read; above the diagonal the factor is zero.
    """
    found, info = torch.linalg.cholesky_ex(block)
    block.copy_(found)
    return int(info)


def divide(block: Tensor, lower: Tensor) -> None:
    """Overwrite the block with block lower^-T: half the columns, their product, the others."""
    width = len(lower)
    if width > LEAF:
        half = width // 2
        done, rest = block[:, :half], block[:, half:]
        divide(done, lower[:half, :half])
        subtract_product(rest, done, lower[half:, :half])
        divide(rest, lower[half:, half:])
    else:
        block.copy_(torch.linalg.solve_triangular(lower.T, block, upper=True, left=False))
