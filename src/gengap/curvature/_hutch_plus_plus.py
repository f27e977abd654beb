"""A trace that takes out the range of a few products first."""

from typing import final

import torch
from torch import Tensor

from ._curvature import Curvature
from ._estimate import Estimate
from ._probes import signs
from ._sampling import summary

_BLOCK = 4


@final
class Sketch:
    """An orthonormal basis Q of the products of random signs, and the trace on it.

    Attributes:
        basis: Q, rows [m, p].
        trace: tr Q' H Q.
    """

    def __init__(self, operator: Curvature, generator: torch.Generator) -> None:
        """Start empty."""
        p = operator.shape[0]
        self._operator, self._generator = operator, generator
        self.basis = torch.empty(0, p, dtype=operator.dtype, device=operator.device)
        self.trace = 0.0

    @property
    def size(self) -> int:
        """Vectors in the basis."""
        return len(self.basis)

    def grow(self, k: int) -> None:
        """Add k vectors, for 2 k products."""
        old = self.size
        self.basis = torch.cat([self.basis, signs(k, self.basis, self._generator)])
        for j in range(old, old + k):
            w = self._operator.rows(self.basis[j : j + 1])[0].to(self.basis)
            orthogonalize(w, self.basis[:j], self._generator)
            self.basis[j] = w
            self.trace += float((w * self._operator.rows(w[None])[0]).sum())


def orthogonalize(w: Tensor, basis: Tensor, generator: torch.Generator) -> None:
    """Make w a unit vector orthogonal to the rows of a basis, in place.

    Where nothing is left of it, a random direction takes its place.
    """
    whole = float(w.norm())
    for _ in range(2):
        w -= (basis @ w) @ basis
    left = float(w.norm())
    if left > 100 * torch.finfo(w.dtype).eps * whole:
        w /= left
        return
    w.copy_(torch.randn(len(w), generator=generator, dtype=torch.float64))
    for _ in range(3):
        w /= w.norm()
        w -= (basis @ w) @ basis
    w /= w.norm()


def hutch_plus_plus(
    operator: Curvature, standard_error: float, most: int, generator: torch.Generator
) -> Estimate:
    """Take the trace on a sketch exactly and estimate the rest by signs off the sketch.

    The sketch grows while that is cheaper than more signs; a new sketch gets new signs.
    """
    before, p, sketch = operator.products, operator.shape[0], Sketch(operator, generator)
    sketch.grow(min(2 * _BLOCK, p, most // 4))
    draws = torch.empty(1, 0, dtype=torch.float64)
    while True:
        left = most - operator.products + before
        more = _BLOCK if draws.shape[1] < 2 * _BLOCK else max(1, draws.shape[1] // 2)
        draws = torch.cat([draws, _off(operator, sketch, max(1, min(more, left)), generator)], 1)
        value, error, degrees = summary(draws)
        value += sketch.trace
        reached = error <= standard_error * abs(value)
        left = most - operator.products + before
        if reached or left < 1:
            break
        need = draws.shape[1] * (error / (standard_error * max(abs(value), 1e-300))) ** 2
        wanted = min(sketch.size, p - sketch.size)
        if need > 4 * sketch.size and wanted and left > 2 * wanted + _BLOCK:
            sketch.grow(wanted)
            draws = draws[:, :0]
    return Estimate(
        value=value,
        standard_error=error,
        degrees=degrees,
        products=operator.products - before,
        converged=reached,
    )


def _off(operator: Curvature, sketch: Sketch, k: int, generator: torch.Generator) -> Tensor:
    found = []
    for _ in range(k):
        z = signs(1, sketch.basis, generator)
        z -= (z @ sketch.basis.T) @ sketch.basis
        found.append((z * operator.rows(z)).sum())
    return torch.stack(found).cpu()[None]
