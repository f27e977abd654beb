"""Products with a kernel matrix that is never held: its blocks are made, used, and dropped."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ._block_steps import times
from ._kernel import Kernel
from ._panels import HEIGHT, check_finite, spans


@final
@dataclass(frozen=True, kw_only=True)
class KernelProduct:
    """K + ridge I as an operator; blocks in the dtype of x, sums over examples in float64."""

    kernel: Kernel
    x: Tensor
    ridge: float

    @property
    def rounding(self) -> float:
        """See the function of this name."""
        return rounding(self.kernel, self.x)

    def __matmul__(self, v: Tensor) -> Tensor:
        """Return (K + ridge I) v for v of shape [n, c]: n^2 d operations, by symmetry."""
        found = self.ridge * v
        u = v.to(self.x)
        for first, last in spans(len(v), HEIGHT):
            for start, stop in spans(last, HEIGHT):
                block = self.kernel(self.x[first:last], self.x[start:stop])
                part = times(block, u[start:stop])
                if not bool(torch.isfinite(part.sum())):
                    check_finite(block, first, start)
                found[first:last] += part
                if stop <= first:
                    found[start:stop] += times(block.T, u[first:last])
        return found

    def residual(self, v: Tensor, y: Tensor, *, most: int, generator: torch.Generator) -> float:
        """Estimate ||y - (K + ridge I) v|| / ||y|| (Frobenius) from `most` rows, drawn at random.

        Unbiased in the square; exact where there are no more rows than `most`.
        """
        n = len(y)
        rows = torch.randperm(n, generator=generator)[:most].to(y.device)
        found = y[rows] - self.ridge * v[rows]
        for start, stop in spans(n, HEIGHT):
            found -= times(self.kernel(self.x[rows], self.x[start:stop]), v[start:stop].to(self.x))
        size = float(y.norm())
        return float(found.norm()) * (n / len(rows)) ** 0.5 / size if size else 0.0


def rounding(kernel: Kernel, x: Tensor) -> float:
    """Return a bound on what rounding does to an eigenvalue: 10 n eps times the mean k(x, x)."""
    mean = sum(float(kernel(row[None], row[None])) for row in x[:64]) / min(len(x), 64)
    return 10 * len(x) * torch.finfo(x.dtype).eps * max(mean, torch.finfo(x.dtype).tiny)
