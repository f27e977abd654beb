"""Sets of displacements around a point, over which a sharpness is the largest rise."""

from dataclasses import dataclass
from typing import Protocol, final

import torch
from torch import Tensor


class Region(Protocol):
    """A convex set of displacements, symmetric around 0."""

    def furthest(self, gradient: Tensor) -> Tensor:
        """Return the displacement with the largest inner product with a gradient [p]."""
        ...

    def draw(self, generator: torch.Generator) -> Tensor:
        """Return a random displacement [p] in the set."""
        ...


@final
@dataclass(frozen=True, eq=False)
class Box:
    r"""$\{d : |d_i| \le w_i\}$.

    Attributes:
        widths: $w$, at least 0, float64 [p].
    """

    widths: Tensor

    def furthest(self, gradient: Tensor) -> Tensor:
        return self.widths * gradient.sign()

    def draw(self, generator: torch.Generator) -> Tensor:
        """Draw uniformly from the box."""
        draws = torch.rand(len(self.widths), generator=generator, dtype=torch.float64)
        return (2 * draws - 1).to(self.widths.device) * self.widths


@final
@dataclass(frozen=True, eq=False)
class Ball:
    r"""$\{d : \|d / t\|_2 \le \rho\}$.

    Attributes:
        radius: $\rho$.
        scales: $t$, at least 0, float64 [p]; where it is 0 so is the displacement.
    """

    radius: float
    scales: Tensor

    def furthest(self, gradient: Tensor) -> Tensor:
        scaled = self.scales * gradient
        norm = scaled.norm()
        return self.radius * self.scales * scaled / norm if norm > 0 else torch.zeros_like(scaled)

    def draw(self, generator: torch.Generator) -> Tensor:
        """Draw uniformly from the surface."""
        draws = torch.randn(len(self.scales), generator=generator, dtype=torch.float64)
        return self.radius * self.scales * (draws / draws.norm()).to(self.scales.device)
