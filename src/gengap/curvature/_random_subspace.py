"""Random matrices A whose columns span the subspace in which a sharpness is sought."""

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from gengap._checks import check_choice
from gengap._streams import streams

Columns = Literal["normal", "unit", "smoothout"]
COLUMNS = ("normal", "unit", "smoothout")
_ENTRIES_AT_ONCE = 1 << 22


@final
@dataclass(frozen=True, eq=False)
class Subspace:
    """A matrix A, [p, k] with independent columns, kept in float32 and multiplied in float64.

    Attributes:
        matrix: A.
    """

    matrix: Tensor

    @property
    def _rows(self) -> int:
        return max(1, _ENTRIES_AT_ONCE // self.matrix.shape[1])

    def __matmul__(self, y: Tensor) -> Tensor:
        """Return A y, float64 [p]."""
        return torch.cat([part.double() @ y for part in self.matrix.split(self._rows)])

    def transposed(self, x: Tensor) -> Tensor:
        """Return the transpose of A times x, float64 [k]."""
        parts = zip(self.matrix.split(self._rows), x.split(self._rows), strict=True)
        return torch.stack([part.double().T @ rows for part, rows in parts]).sum(0)

    def coordinates(self, x: Tensor) -> Tensor:
        """Return the pseudo-inverse of A times x, float64 [k]: least squares."""
        gram = torch.stack([
            part.double().T @ part.double() for part in self.matrix.split(self._rows)
        ]).sum(0)
        return torch.linalg.solve(gram, self.transposed(x))


def random_subspace(
    p: int, k: int, *, columns: Columns, seed: int, device: torch.device
) -> Subspace:
    """Draw the matrix of a random subspace.

    Args:
        p: Parameters.
        k: Columns; at most p.
        columns: "normal": every entry from N(0, 1). "unit": the same, columns scaled to length 1.
            "smoothout": A is the pseudo-inverse of a matrix whose rows are uniform on [-1, 1]
            and scaled to length 1.
        seed: Of the draws.
        device: Where the matrix goes.
    """
    check_choice("columns", columns, COLUMNS)
    if k > p:
        raise ValueError(f"`subspace` must be at most the number of parameters, {p}; got {k}.")
    generator = streams(seed)("sharpness", "subspace")
    if columns == "smoothout":
        rows = 2 * torch.rand(k, p, generator=generator) - 1
        rows /= rows.norm(dim=1, keepdim=True)
        gram = rows.double() @ rows.double().T
        return Subspace(torch.linalg.solve(gram, rows.double()).T.float().to(device))
    matrix = torch.randn(k, p, generator=generator)
    if columns == "unit":
        matrix /= matrix.norm(dim=1, keepdim=True)
    return Subspace(matrix.T.to(device))
