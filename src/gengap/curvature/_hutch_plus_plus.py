"""A trace that takes out the range of a few products first."""

from typing import final

import torch
from torch import Tensor

from ._curvature import Curvature
from ._estimate import Estimate
from ._probes import signs
from ._sampling import highest, summary

_BLOCK = 4


@final
class Sketch:
    """An orthonormal basis Q of the products of random signs, and the trace on it.

    Attributes:
        basis: Q, rows [m, p].
        trace: tr Q' H Q, or tr Q' H² Q where it is of the square.
    """

    def __init__(self, operator: Curvature, generator: torch.Generator, squared: bool) -> None:
        """Start empty."""
        self._squared = squared
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
            self.trace += self.form(w[None])

    def form(self, u: Tensor) -> float:
        """Return u' H u, or u' H² u, of one row [1, p]."""
        product = self._operator.rows(u)
        return float((product if self._squared else u).double().mul(product).sum())

    def off(self, k: int) -> Tensor:
        """Return the forms of k sign vectors made orthogonal to the basis, float64 [1, k]."""
        found = []
        for _ in range(k):
            z = signs(1, self.basis, self._generator)
            z -= (z @ self.basis.T) @ self.basis
            found.append(self.form(z))
        return torch.tensor([found], dtype=torch.float64)


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
    operator: Curvature,
    standard_error: float,
    most: int,
    generator: torch.Generator,
    *,
    squared: bool = False,
) -> Estimate:
    """Take tr H, or tr H², on a sketch exactly and estimate the rest by signs off the sketch.

    The sketch grows while that is cheaper than more signs; a new sketch gets new signs. A few
    draws that agree by chance do not end it: there are at least 12, and the error that must be
    small enough is the largest that they leave likely.
    """
    before, p = operator.products, operator.shape[0]
    sketch = Sketch(operator, generator, squared)
    sketch.grow(min(2 * _BLOCK, p, max(1, most // 4)))
    draws = torch.empty(1, 0, dtype=torch.float64)
    while True:
        left = most - operator.products + before
        more = _BLOCK if draws.shape[1] < 3 * _BLOCK else max(1, draws.shape[1] // 2)
        draws = torch.cat([draws, sketch.off(max(1, min(more, left)))], 1)
        value, error, degrees = summary(draws)
        value += sketch.trace
        enough = draws.shape[1] >= 3 * _BLOCK or not error
        reached = enough and highest(error, degrees) <= standard_error * abs(value)
        left = most - operator.products + before
        if reached or left < 1:
            break
        need = (
            draws.shape[1]
            * (highest(error, degrees) / (standard_error * max(abs(value), 1e-300))) ** 2
        )
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
