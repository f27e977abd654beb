"""Localized approximation: two hidden layers make indicators of cubes, and averages over them."""

import math
from typing import Any, final

import torch
from torch import Tensor, nn

from gengap._checks import check_count, check_positive
from gengap._errors import DataError

_CHUNK = 1 << 22  # entries of a hidden layer at a time


@final
class Localized(nn.Module):
    """A sum of indicators of cubes, each a unit of a second hidden layer.

    N_k(x) = s(K (sum_l h(1/(2N) + x_l - xi_kl) + sum_l h(1/(2N) - x_l + xi_kl) - 2 d + 1/2))

    f(x) = sum_k c_k N_k(x), with h the Heaviside step, s the logistic function and xi_k the centre
    of the k-th of the N^d cubes of side 1/N that fill [0, 1]^d. Inside its cube the argument of s
    is K/2, outside at most -K/2: N_k is the indicator up to exp(-K/2), and exactly it for K =
    infinity, where s is a step too. One layer cannot do that for d > 1. Steps at 0 are chosen so
    that the cubes are half open and fill the space without overlap; 1 belongs to the last.

    Neighbours share their steps: d (N + 1) units in the first layer, one a cube in the second. The
    derivative with respect to the inputs is 0 wherever it exists; the coefficients can be trained.

    Attributes:
        coefficients: c, shape [cubes].
        cubes: Which cubes they belong to, shape [cubes], ascending; the last coordinate counts
            fastest. Elsewhere f is 0.
        per_axis: N.
        dimension: d.
        sharpness: K; infinity computes f by looking up cubes, anything else by all units.

    Source:
        Lin (2018), arXiv:1803.03772. The formula was recalled and checked as said above: the 2 d
        steps are all 1 inside and at least one is 0 outside.
    """

    cubes: Tensor

    def __init__(
        self,
        coefficients: Tensor,
        cubes: Tensor,
        *,
        per_axis: int,
        dimension: int,
        sharpness: float = math.inf,
    ) -> None:
        """Put it together from coefficients in float64 and the numbers of their cubes."""
        super().__init__()
        self.coefficients = nn.Parameter(coefficients)
        self.register_buffer("cubes", cubes)
        self.per_axis = per_axis
        self.dimension = dimension
        self.sharpness = sharpness

    @property
    def hidden_units(self) -> tuple[int, int]:
        """Units of the first and the second hidden layer."""
        return self.dimension * (self.per_axis + 1), len(self.cubes)

    def forward(self, x: Tensor) -> Tensor:
        """Return f of points of [0, 1]^d: shape [n, d] to [n], float64."""
        if self.sharpness != math.inf:
            return self.plain(x)
        cube = cube_of(x, self.per_axis)
        at = torch.searchsorted(self.cubes, cube).clamp(max=len(self.cubes) - 1)
        found = self.coefficients[at]
        return torch.where(self.cubes[at] == cube, found, torch.zeros_like(found))

    def plain(self, x: Tensor) -> Tensor:
        """Return f by all units of both hidden layers; O(n cubes d)."""
        rows = max(1, _CHUNK // (len(self.cubes) * self.dimension))
        return torch.cat([self.units(part) @ self.coefficients for part in x.split(rows)])

    def units(self, x: Tensor) -> Tensor:
        """Return the second hidden layer, the indicators: shape [n, cubes]."""
        points = x.double()[:, None, :]
        corners = _coordinates(self.cubes, self.per_axis, self.dimension)
        edges = torch.arange(self.per_axis + 1, dtype=torch.float64, device=x.device)
        edges = edges / self.per_axis
        edges[-1] = math.nextafter(1.0, 2.0)
        above = (points >= edges[corners]).double().sum(-1)
        below = (points < edges[corners + 1]).double().sum(-1)
        argument = above + below - 2 * self.dimension + 0.5
        if self.sharpness == math.inf:
            return (argument > 0).double()
        return torch.sigmoid(self.sharpness * argument)


def localized_averages(x: Any, y: Any, *, per_axis: int, sharpness: float = math.inf) -> Localized:
    """Fit by least squares: the mean target of the examples in every cube that has some.

    With noise of variance s^2 and a target of smoothness r (|f(x) - f(z)| <= c |x - z|^r, r <= 1)
    the expected squared error is a bias of order N^(-2r) and a variance s^2 N^d / n, so that N =
    n^(1 / (2r + d)) gives n^(-2r / (2r + d)), the best rate any method can have. Where f is 0
    outside a share q of the cubes the bias is q N^(-2r), and N = (q n)^(1 / (2r + d)) gives
    n^(-2r / (2r + d)) q^(d / (2r + d)). Both rates are Lin's, up to a logarithm; they were recalled
    and follow from these two terms.

    Args:
        x: Points of [0, 1]^d, shape [n, d].
        y: Targets, shape [n].
        per_axis: N, cubes along each axis.
        sharpness: K of `Localized`.

    Returns:
        The network, in float64, its cubes those that hold an example.

    Raises:
        DataError: A point is not in the unit cube, or a target is not finite.
        ValueError: An argument does not fit.
    """
    x, y = torch.as_tensor(x).detach(), torch.as_tensor(y).detach()
    check_count("per_axis", per_axis)
    if sharpness != math.inf:
        check_positive("sharpness", sharpness)
    if x.ndim != 2 or y.ndim != 1 or len(x) != len(y) or x.numel() == 0:
        raise ValueError(
            "`x` and `y` must have shapes [n, d] and [n], n and d at least 1; got "
            f"{list(x.shape)} and {list(y.shape)}."
        )
    if per_axis ** x.shape[1] >= 2**62:
        raise ValueError(
            f"`per_axis` must leave at most 2^62 cubes; got {per_axis}^{x.shape[1]}: take fewer."
        )
    if not bool(((x >= 0) & (x <= 1)).all()):
        raise DataError("`x` must lie in the unit cube; scale every feature to [0, 1] first.")
    if not bool(y.isfinite().all()):
        raise DataError("`y` must be finite; got NaN or infinity: leave those examples out.")
    cubes, own, counts = cube_of(x, per_axis).unique(return_inverse=True, return_counts=True)
    sums = torch.zeros(len(cubes), dtype=torch.float64, device=y.device)
    sums.index_add_(0, own, y.double())
    return Localized(
        sums / counts, cubes, per_axis=per_axis, dimension=x.shape[1], sharpness=sharpness
    )


def cube_of(x: Tensor, per_axis: int) -> Tensor:
    """Return the number of the cube that each point of [0, 1]^d is in; -1 outside."""
    edges = torch.arange(1, per_axis, dtype=torch.float64, device=x.device) / per_axis
    points = x.double()
    places = torch.searchsorted(edges, points.contiguous(), right=True)
    digits = per_axis ** torch.arange(x.shape[1] - 1, -1, -1, device=x.device)
    inside = ((points >= 0) & (points <= 1)).all(1)
    return torch.where(inside, (places * digits).sum(1), -1)


def _coordinates(cubes: Tensor, per_axis: int, dimension: int) -> Tensor:
    """Return the place of cubes along each axis, shape [cubes, d]."""
    digits = per_axis ** torch.arange(dimension - 1, -1, -1, device=cubes.device)
    return cubes[:, None] // digits % per_axis
