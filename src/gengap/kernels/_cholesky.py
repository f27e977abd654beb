"""The Cholesky factor of a symmetric matrix in panels: made in place, and what it is used for."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from . import _block_steps as steps
from ._block_steps import times
from ._panels import WIDTH, spans
from ._tell import Tell, silent


class NotPositiveError(ValueError):
    """A matrix has no Cholesky factor, to the accuracy of its dtype."""


@final
@dataclass(frozen=True, kw_only=True)
class Cholesky:
    """The factor L of a positive definite matrix A = L L^T, in the panels that A was in."""

    panels: list[Tensor]

    @property
    def n(self) -> int:
        """Rows of the matrix."""
        return len(self.panels[0])

    def solve(self, y: Tensor) -> Tensor:
        """Return A^-1 y for y of shape [n, c], in the dtype of the factor."""
        found = self._forward(y.to(self.panels[0], copy=True), first=0)
        for (start, stop), panel in zip(
            reversed(list(spans(self.n))), reversed(self.panels), strict=True
        ):
            width = stop - start
            found[start:stop] -= times(panel[width:].T, found[stop:])
            found[start:stop] = torch.linalg.solve_triangular(
                panel[:width].tril().T, found[start:stop], upper=True
            )
        return found

    def multiply(self, v: Tensor) -> Tensor:
        """Return A v for v of shape [n, c]."""
        v = v.to(self.panels[0])
        half, found = torch.empty_like(v), torch.zeros_like(v)
        for (start, stop), panel in zip(spans(self.n), self.panels, strict=True):
            width = stop - start
            half[start:stop] = times(panel[width:].T, v[stop:])
            half[start:stop] += panel[:width].tril().T @ v[start:stop]
            found[start:stop] += panel[:width].tril() @ half[start:stop]
            found[stop:] += times(panel[width:], half[start:stop])
        return found

    def inverse_diagonal(self) -> Tensor:
        """Return the diagonal of A^-1, [n], in float64.

        Column by column of L^-1, a panel's width at a time: n^3 / 3 multiplications and as many
        additions, as the factorization itself, and memory for n rows of one panel.
        """
        found = torch.empty(self.n, dtype=torch.float64)
        for i, (start, stop) in enumerate(spans(self.n)):
            columns = self.panels[0].new_zeros(self.n - start, stop - start)
            columns.diagonal().fill_(1)
            self._forward(columns, first=i)
            found[start:stop] = columns.square_().sum(0, dtype=torch.float64).cpu()
        return found

    def _forward(self, y: Tensor, *, first: int) -> Tensor:
        """Overwrite y, the rows from panel `first` on, with L^-1 y."""
        offset = self.n - len(y)
        for (start, stop), panel in list(zip(spans(self.n), self.panels, strict=True))[first:]:
            width, here = stop - start, slice(start - offset, stop - offset)
            y[here] = torch.linalg.solve_triangular(panel[:width].tril(), y[here], upper=False)
            y[here.stop :] -= times(panel[width:], y[here])
        return y


def cholesky(panels: list[Tensor], *, tell: Tell = silent) -> Cholesky:
    """Factor a symmetric matrix in place; its panels become those of the factor.

    Left-looking: a panel is finished before the next is touched, as many rows of it at a time
    as it has columns, which stay in the cache while all the panels before pass by.

    Raises:
        NotPositiveError: The matrix is not positive definite to the accuracy of its dtype.
    """
    n = len(panels[0])
    columns = list(spans(n))
    for j, (start, stop) in enumerate(columns):
        panel, width = panels[j], stop - start
        for top, bottom in spans(n - start):
            for (first, _), before in zip(columns[:j], panels, strict=False):
                rows = before[start - first :]
                steps.subtract_product(panel[top:bottom], rows[top:bottom], rows[:width])
        failed = steps.factor(panel[:width])
        if failed:
            raise NotPositiveError(f"row {start + failed - 1} of {n}")
        for block in panel[width:].split(WIDTH):
            steps.divide(block, panel[:width])
        tell(f"{_share_of_work(stop, n):.0%} of the factorization is done")
    return Cholesky(panels=panels)


def _share_of_work(done: int, n: int) -> float:
    """Return which part of the operations the first columns of n take."""
    u = done / n
    return u * u * (3 - 2 * u)
