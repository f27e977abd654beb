"""The density of eigenvalues, with error bands."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from gengap._checks import check_count, check_positive
from gengap._streams import streams
from gengap.risk import Risk

from ._curvature import Curvature, as_curvature
from ._probes import signs
from ._quadrature import Quadrature, quadrature

if TYPE_CHECKING:
    import pandas as pd


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SpectralDensity:
    """The density of the eigenvalues, smoothed by a normal density.

    Attributes:
        grid: Eigenvalues, float64 [g].
        density: Share of eigenvalues a unit of eigenvalue, float64 [g].
        standard_error: Of the density over the probes, float64 [g].
        width: Standard deviation of the smoothing, in units of eigenvalue.
        quadratures: Nodes and weights of every probe.
        products: Vectors multiplied.
    """

    grid: Tensor
    density: Tensor
    standard_error: Tensor
    width: float
    quadratures: tuple[Quadrature, ...]
    products: int

    def share_below(self, value: float) -> tuple[float, float]:
        """Return the share of eigenvalues at or below a value, unsmoothed, and its error."""
        shares = torch.stack([q.weights[q.nodes <= value].sum() for q in self.quadratures])
        return float(shares.mean()), float(shares.std() / math.sqrt(len(shares)))

    def frame(self) -> "pd.DataFrame":
        """Return columns eigenvalue, density, low, high: the band of two standard errors."""
        import pandas as pd

        low = (self.density - 2 * self.standard_error).clamp(min=0)
        high = self.density + 2 * self.standard_error
        columns = {"eigenvalue": self.grid, "density": self.density, "low": low, "high": high}
        return pd.DataFrame({name: values.numpy() for name, values in columns.items()})


def spectral_density(
    target: Risk | Curvature,
    *,
    probes: int = 8,
    steps: int = 40,
    width: float | None = None,
    points: int = 512,
    seed: int = 0,
) -> SpectralDensity:
    r"""Estimate the density $\frac1p \sum_j \mathcal N(\lambda - \lambda_j; 0, \sigma^2)$.

    Stochastic Lanczos quadrature: every random sign vector sees the spectrum with weights
    $(u_j^\top z)^2 / p$, which Lanczos turns into a few nodes. The weights are unbiased; what
    quadrature loses falls exponentially with steps times width over the spectrum's range. The
    error band is the spread over probes and does not hold that loss. Cost: `probes` times `steps`
    products, `steps` vectors of memory.

    Args:
        target: A risk, for its Hessian, or a curvature.
        probes: Random vectors, at least 2.
        steps: Products for each of them, at most p.
        width: Standard deviation of the smoothing; None is 1 % of the range of the nodes.
        points: Of the grid, which covers the nodes and four widths more.
        seed: Of the random signs.

    Returns:
        The density with its standard error on a grid, and the quadratures.

    Source:
        Ghorbani, Krishnan and Xiao (2019), arXiv:1901.10159. Ours reorthogonalizes in full and
        gives the spread over probes.
    """
    check_count("probes", probes, least=2)
    check_count("steps", steps)
    check_count("points", points, least=2)
    operator, generator = as_curvature(target), streams(seed)("density")
    before, p = operator.products, operator.shape[0]
    like = torch.empty(p, dtype=operator.dtype, device=operator.device)
    found = tuple(
        quadrature(operator, signs(1, like, generator)[0], min(steps, p)) for _ in range(probes)
    )
    nodes = torch.cat([q.nodes for q in found])
    extent = float(nodes.max() - nodes.min()) or max(abs(float(nodes[0])), 1.0)
    width = 0.01 * extent if width is None else width
    check_positive("width", width)
    low, high = float(nodes.min()) - 4 * width, float(nodes.max()) + 4 * width
    grid = torch.linspace(low, high, points, dtype=torch.float64)
    each = torch.stack([_smoothed(q, grid, width) for q in found])
    return SpectralDensity(
        grid=grid,
        density=each.mean(0),
        standard_error=each.std(0) / math.sqrt(probes),
        width=width,
        quadratures=found,
        products=operator.products - before,
    )


def _smoothed(q: Quadrature, grid: Tensor, width: float) -> Tensor:
    scaled = (grid[:, None] - q.nodes) / width
    kernel = torch.exp(-0.5 * scaled.square()) / (width * math.sqrt(2 * math.pi))
    return kernel @ q.weights
