"""The lower half of a symmetric matrix, in panels of columns."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ._kernel import Kernel
from ._tell import Tell, silent

WIDTH, HEIGHT = 768, 1024
"""Columns of a panel; rows of a block of the kernel."""


def spans(n: int, width: int = WIDTH) -> Iterator[tuple[int, int]]:
    """Yield the first column and the one behind the last of each panel."""
    for start in range(0, n, width):
        yield start, min(start + width, n)


def panel_bytes(n: int, itemsize: int) -> int:
    """Return the memory of the panels: n (n + width) / 2 entries, about half of the square."""
    return itemsize * sum((n - a) * (b - a) for a, b in spans(n))


def kernel_panels(kernel: Kernel, x: Tensor, *, ridge: float, tell: Tell = silent) -> list[Tensor]:
    """Return the lower half of K + ridge I; panel j has the rows from its own diagonal down.

    Half a matrix has half the entries: 60,000 examples take 7.2 GB in float32. No index into a
    panel exceeds 32 bits, whatever the BLAS takes.

    Raises:
        ValueError: An entry is not finite.
    """
    panels = []
    for start, stop in spans(len(x)):
        panel = torch.empty(len(x) - start, stop - start, dtype=x.dtype, device=x.device)
        for block, rows in zip(panel.split(HEIGHT), x[start:].split(HEIGHT), strict=True):
            block.copy_(kernel(rows, x[start:stop]))
        if not bool(torch.isfinite(panel.sum())):
            check_finite(panel, start, start)
        panel.diagonal().add_(ridge)
        panels.append(panel)
        tell(f"column {stop:,} of {len(x):,} of the matrix is filled")
    return panels


def check_finite(block: Tensor, row: int, column: int) -> None:
    """Refuse a kernel with entries that are no numbers; the block starts at that row and column."""
    bad = (~torch.isfinite(block)).nonzero()
    if len(bad):
        i, j = bad[0].tolist()
        value = float(block[i, j])
        raise ValueError(
            f"`kernel` must be finite; got {value} for examples {row + i} and {column + j}. "
            "Scale the inputs, or take a smaller degree or float64."
        )
