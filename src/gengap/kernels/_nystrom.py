"""A preconditioner that flattens a kernel's large eigenvalues, from a part of the examples."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ._kernel import Kernel
from ._panels import HEIGHT, check_finite, spans


@final
@dataclass(frozen=True, kw_only=True)
class Nystrom:
    """The large eigenpairs of an approximation to K: U of shape [n, k], Lambda of shape [k]."""

    vectors: Tensor
    values: Tensor
    ridge: float

    def start(self, y: Tensor) -> Tensor:
        r"""Return $U (\Lambda + r)^{-1} U^\top y$, which solves the problem on those vectors."""
        return self._apply(1 / (self.values + self.ridge), y)

    def precondition(self, v: Tensor) -> Tensor:
        r"""Return $v - U\,(1 - (\lambda_k + r) / (\Lambda + r))\,U^\top v$.

        It brings the large eigenvalues of K + r I down to the smallest that is known, lambda_k,
        and leaves the others alone: EigenPro's preconditioner.
        """
        least = self.values[0] + self.ridge
        return v - self._apply(1 - least / (self.values + self.ridge), v)

    def _apply(self, scale: Tensor, v: Tensor) -> Tensor:
        inner = (self.vectors.T @ v.to(self.vectors)).double()
        return (self.vectors @ (scale[:, None] * inner).to(self.vectors)).to(v)


def nystrom(
    kernel: Kernel, x: Tensor, *, ridge: float, rank: int, generator: torch.Generator
) -> Nystrom:
    r"""Approximate K by $K_{ns} K_{ss}^{-1} K_{sn}$ on `rank` examples drawn at random.

    Args:
        kernel: Of two blocks of examples.
        x: Examples, [n, d].
        ridge: r.
        rank: s, the examples drawn; n s entries of memory, 2 n s^2 operations.
        generator: Of the draw.

    Source:
        Ma and Belkin (2019), EigenPro 2.0; Frangella, Tropp and Udell (2023), randomized Nyström
        preconditioning, for the formula; the columns are drawn here, not mixed.
    """
    chosen = torch.randperm(len(x), generator=generator)[:rank].to(x.device)
    centres = x[chosen]
    small = kernel(centres, centres)
    check_finite(small, 0, 0)
    values, vectors = torch.linalg.eigh(small.double())
    kept = values > values[-1] * len(chosen) * torch.finfo(x.dtype).eps
    root = (vectors[:, kept] / values[kept].sqrt()).to(x)
    basis = torch.empty(len(x), int(kept.sum()), dtype=x.dtype, device=x.device)
    for start, stop in spans(len(x), HEIGHT):
        basis[start:stop] = kernel(x[start:stop], centres) @ root
    # The approximation is basis basis^T: its eigenpairs come from the small Gram matrix.
    squares, rotation = torch.linalg.eigh((basis.T @ basis).double())
    # Flattening by more than this would cancel to rounding.
    large = squares > squares[-1] * torch.finfo(x.dtype).eps ** 0.75
    squares, rotation = squares[large], rotation[:, large]
    unit = basis @ (rotation / squares.sqrt()).to(x)
    return Nystrom(vectors=unit, values=squares, ridge=ridge)
