"""Volume epsilon-flatness: how large the region of low loss around a point is."""

import math
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from gengap._checks import check_choice, check_count, check_positive
from gengap._streams import streams
from gengap.risk import Risk

from ._curvature import Curvature
from ._flat_risk import FlatRisk

_DENSE = 500
_FLATTEST = 1e-6
_GROWTH = 1.25


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class VolumeFlatness:
    """What `volume_flatness` found.

    Attributes:
        log_volume: Natural logarithm of the volume, in units of the parameters to the power p.
        standard_error: Of the log-volume, by the jackknife over directions.
        lower_bound: A lower bound of the log-volume, whose estimate has no bias: it has the mean
            of the logarithm where the volume has the logarithm of the mean.
        lower_bound_error: Standard error of the bound.
        capped: Directions along which the loss stays low as far as was looked.
        log_radii: Logarithm of the radius along each direction, in units of the shape, [k].
        passes: Cost in forward-and-backward passes.
    """

    log_volume: float
    standard_error: float
    lower_bound: float
    lower_bound_error: float
    capped: int
    log_radii: Tensor = field(repr=False)
    passes: float

    def __float__(self) -> float:
        return self.log_volume


def volume_flatness(
    risk: Risk,
    *,
    epsilon: float = 0.01,
    directions: int = 64,
    shape: str | None = None,
    longest: float = 10.0,
    seed: int = 0,
) -> VolumeFlatness:
    r"""Estimate the volume around the parameters in which the loss rises by less than epsilon.

    $$\log \mathrm{Vol}\{\theta + r S u : r < r(u), \|u\| = 1\} = \log V_p + \log |\det S|
    + \log \mathbb{E}_u [r(u)^p]$$

    with $r(u)$ where the loss first reaches $L(\theta) + \epsilon$ along $S u$ and $V_p$ the volume
    of the unit ball. That is the part of the set C of Dinh et al. which can be seen from
    $\theta$, hence a lower bound of its volume; of a rectified network the whole is infinite
    (theorem 2; see `disjoint_boxes`), and directions that stay low up to `longest` are counted.

    S only spreads the directions, it does not change what is estimated: with the inverse root of
    the Hessian it is exact for a quadratic. The logarithm of a mean of p-th powers has a negative
    bias and a standard error that grow with p and with the spread of the radii: where the
    standard error exceeds about 1, take the lower bound, which has none. A rise and fall of the
    loss within a quarter of the radius is overlooked.

    Units: log of parameters to the power p; any sign; larger is flatter. Changes under rescaling
    of layers of unequal size, by the logarithm of the determinant. Cost: 15 to 40 forward passes
    a direction, and p products for the Hessian.

    Args:
        risk: The risk; computed in float64.
        epsilon: Rise of the loss, in its units.
        directions: Random directions.
        shape: "hessian", "sphere" (S = 1), or None: the Hessian up to 500 parameters.
        longest: How far to look: displacements up to this many times the norm of the parameters.
        seed: Of the directions.

    Source:
        Dinh et al. (2017), arXiv:1703.04933, definition 1, after Hochreiter and Schmidhuber
        (1997). The estimate is ours.
    """
    check_positive("epsilon", epsilon)
    check_positive("longest", longest)
    check_count("directions", directions, least=2)
    check_choice("shape", shape, (None, "hessian", "sphere"))
    flat = FlatRisk.of(risk)
    flat.value_and_gradient(flat.start)  # raises where the loss does not see the parameters
    scales, axes = _shape(flat, shape or ("hessian" if flat.p <= _DENSE else "sphere"))
    limit, draw = longest * float(flat.start.norm().clamp(min=1e-12)), streams(seed)
    log_radii, capped = [], 0
    for k in range(directions):
        u = torch.randn(flat.p, generator=draw("volume", k), dtype=torch.float64)
        u = scales * (u / u.norm()).to(scales)
        along = u if axes is None else axes @ u
        end = limit / float(along.norm())
        radius = _first_crossing(flat, along, epsilon, end)
        capped += radius >= end
        log_radii.append(math.log(radius))
    return _estimate(flat, torch.tensor(log_radii, dtype=torch.float64), scales, capped)


def _shape(flat: FlatRisk, shape: str) -> tuple[Tensor, Tensor | None]:
    """Return S as the lengths of its axes [p], and the axes [p, p]; None are the coordinates."""
    if shape == "sphere":
        return torch.ones_like(flat.start), None
    values, vectors = torch.linalg.eigh(Curvature(flat.risk).dense())
    flat.gradients += flat.p
    top = float(values.abs().max())
    if not top > 0:
        return torch.ones_like(flat.start), None
    return values.abs().clamp(min=_FLATTEST * top).rsqrt(), vectors


def _first_crossing(flat: FlatRisk, along: Tensor, epsilon: float, end: float) -> float:
    """Return the least r at which the loss along a direction has risen by epsilon; at most end."""

    def low(r: float) -> bool:
        return flat.value(flat.start + r * along) - flat.loss < epsilon  # NaN is not low

    high = min(math.sqrt(2 * epsilon), end)
    inside = 0.0
    if low(high):
        while low(high):
            if high >= end:
                return end
            inside, high = high, min(high * _GROWTH, end)
    else:
        while not low(high / 2):
            high /= 2
        inside = high / 2
    width = max(1e-12, 0.01 / flat.p)
    while high - inside > width * high:
        middle = 0.5 * (inside + high)
        inside, high = (middle, high) if low(middle) else (inside, middle)
    return 0.5 * (inside + high)


def _estimate(flat: FlatRisk, log_radii: Tensor, scales: Tensor, capped: int) -> VolumeFlatness:
    p, k = flat.p, len(log_radii)
    ball = 0.5 * p * math.log(math.pi) - math.lgamma(0.5 * p + 1)
    base = ball + float(scales.log().sum())
    powers = p * log_radii
    without = torch.stack([
        torch.cat([powers[:i], powers[i + 1 :]]).logsumexp(0) - math.log(k - 1) for i in range(k)
    ])
    return VolumeFlatness(
        log_volume=base + float(powers.logsumexp(0)) - math.log(k),
        standard_error=math.sqrt((k - 1) / k * float((without - without.mean()).square().sum())),
        lower_bound=base + float(powers.mean()),
        lower_bound_error=float(powers.std()) / math.sqrt(k),
        capped=capped,
        log_radii=log_radii,
        passes=flat.passes,
    )
