"""Errors of averages over cubes on targets of known smoothness, over examples and sparseness."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, final

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gengap._streams import streams
from gengap.capacity import Localized, localized_averages
from gengap.lab import Lab, Measurement, Progress

Scale = Literal["smoke", "small", "paper"]
NOISE = 0.5
SHARPNESSES = (4.0, 8.0, 16.0, 32.0, 64.0)
SHARES = (1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32)
SPARSE_N = {"smoke": 2**14, "small": 2**18, "paper": 2**20}
_FRESH = {"smoke": 20_000, "small": 100_000, "paper": 100_000}


@final
@dataclass(frozen=True, kw_only=True)
class Target:
    """A function on the unit cube.

    Attributes:
        name: As in tables.
        dimension: d.
        smoothness: r: |f(x) - f(z)| <= c |x - z|^r.
        function: From points of shape [n, d] to values of shape [n].
        cubes: Cubes along each axis, by scale; the examples are cubes^(2r + d).
    """

    name: str
    dimension: int
    smoothness: float
    function: Callable[[Tensor], Tensor]
    cubes: dict[str, tuple[int, ...]]

    @property
    def exponent(self) -> float:
        """The rate of theory, -2r / (2r + d)."""
        return -2 * self.smoothness / (2 * self.smoothness + self.dimension)

    def examples(self, per_axis: int) -> int:
        """Return how many examples go with so many cubes along each axis."""
        return round(per_axis ** (2 * self.smoothness + self.dimension))


def waves(x: Tensor) -> Tensor:
    """Return sum_l sin(2 pi x_l) / sqrt(d): Lipschitz, r = 1."""
    return torch.sin(2 * math.pi * x).sum(1) / math.sqrt(x.shape[1])


def rough(x: Tensor) -> Tensor:
    """Return sum_k 2^(-k/2) cos(2 pi 2^k x): Weierstrass's function, r = 1/2 everywhere."""
    return sum(
        (2.0 ** (-k / 2) * torch.cos(2 * math.pi * 2**k * x[:, 0]) for k in range(24)),
        torch.zeros(len(x), dtype=torch.float64),
    )


TARGETS = (
    Target(
        name="Lipschitz, d = 1",
        dimension=1,
        smoothness=1.0,
        function=waves,
        cubes={
            "smoke": (6, 9, 13, 19, 27),
            "small": (8, 12, 18, 27, 40, 60),
            "paper": (8, 12, 18, 27, 40, 60, 90),
        },
    ),
    Target(
        name="Lipschitz, d = 2",
        dimension=2,
        smoothness=1.0,
        function=waves,
        cubes={
            "smoke": (6, 8, 10, 12),
            "small": (6, 9, 13, 18, 24),
            "paper": (6, 9, 13, 18, 24, 32),
        },
    ),
    Target(
        name="Lipschitz, d = 3",
        dimension=3,
        smoothness=1.0,
        function=waves,
        cubes={"smoke": (5, 6, 7, 8), "small": (5, 7, 9, 12), "paper": (5, 7, 9, 12, 16)},
    ),
    Target(
        name="rough, d = 1",
        dimension=1,
        smoothness=0.5,
        function=rough,
        cubes={
            "smoke": (16, 32, 64, 128),
            "small": (16, 32, 64, 128, 256, 512),
            "paper": (16, 32, 64, 128, 256, 512, 1024),
        },
    ),
)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Numbers:
    """What was measured.

    Attributes:
        rates: One row a target, number of examples and seed: error (mean square), cubes.
        sparse: One row a share of the cube on which the target is not 0, and seed: error.
        sharpness: One row a sharpness K: largest difference of a unit from its indicator.
        seconds: What all of it took.
    """

    rates: pd.DataFrame = field(repr=False)
    sparse: pd.DataFrame = field(repr=False)
    sharpness: pd.DataFrame = field(repr=False)
    seconds: float


def measure(
    lab: Lab,
    scale: Scale,
    seeds: Sequence[int],
    *,
    compute: bool,
    progress: Callable[[Progress], None] | None,
) -> Numbers:
    """Fit what has not been fitted, and keep in the lab what was measured of it."""
    plan = [
        ("rates", {"target": target.name, "per_axis": per_axis, "seed": seed})
        for target in TARGETS
        for per_axis in target.cubes[scale]
        for seed in seeds
    ]
    plan += [
        ("sparse", {"share": share, "n": SPARSE_N[scale], "seed": seed})
        for share in SHARES
        for seed in seeds
    ]
    plan += [("sharpness", {"sharpness": sharpness}) for sharpness in SHARPNESSES]
    asked = [_measurement(part, place, fresh=_FRESH[scale]) for part, place in plan]
    found = lab.measure(asked, compute=compute, progress=progress)
    rows: dict[str, list[dict[str, Any]]] = {"rates": [], "sparse": [], "sharpness": []}
    for (part, place), values in zip(plan, found, strict=True):
        if values is not None:
            rows[part].append({**place, **values})
    columns = {
        "rates": ["target", "per_axis", "seed", "n", "error", "seconds"],
        "sparse": ["share", "seed", "n", "per_axis", "error", "seconds"],
        "sharpness": ["sharpness", "difference", "seconds"],
    }
    frames: dict[str, Any] = {
        part: pd.DataFrame(own, columns=columns[part]) for part, own in rows.items()
    }
    seconds = sum(float(frame["seconds"].sum()) for frame in frames.values())
    return Numbers(**frames, seconds=seconds)


def _measurement(part: str, place: dict[str, Any], *, fresh: int) -> Measurement:
    computed: dict[str, Callable[..., dict[str, Any]]] = {
        "rates": _rate,
        "sparse": _sparse,
        "sharpness": _sharp,
    }

    def compute() -> dict[str, Any]:
        start = time.perf_counter()
        values = computed[part](**place, fresh=fresh)
        return {**values, "seconds": time.perf_counter() - start}

    return Measurement(name=f"lin2018-{part}", options={**place, "fresh": fresh}, compute=compute)


def _rate(*, target: str, per_axis: int, seed: int, fresh: int) -> dict[str, Any]:
    (own,) = (one for one in TARGETS if one.name == target)
    n = own.examples(per_axis)
    error = fitted_error(own.function, own.dimension, n, per_axis=per_axis, seed=seed, fresh=fresh)
    return {"n": n, "error": error}


def _sparse(*, share: float, n: int, seed: int, fresh: int) -> dict[str, Any]:
    """Fit a wave that is 0 beyond a share of the interval, with the best number of cubes.

    Squared bias share (2 pi waves)^2 / (24 N^2) and variance noise^2 N / n: their sum is least at
    N^3 = share n (2 pi waves)^2 / (12 noise^2).
    """
    waves_in_all = 1 / SHARES[-1]
    factor = (2 * math.pi * waves_in_all) ** 2 / (12 * NOISE**2)
    per_axis = round((factor * share * n) ** (1 / 3))

    def part(x: Tensor) -> Tensor:
        wave = torch.sin(2 * math.pi * waves_in_all * x[:, 0])
        return torch.where(x[:, 0] < share, wave, 0.0)

    error = fitted_error(part, 1, n, per_axis=per_axis, seed=seed, fresh=fresh)
    return {"per_axis": per_axis, "error": error}


def fitted_error(
    function: Callable[[Tensor], Tensor],
    dimension: int,
    n: int,
    *,
    per_axis: int,
    seed: int,
    fresh: int,
) -> float:
    """Return the mean squared error, at fresh points, of averages over noisy examples."""
    draw = streams(seed)
    x, at = (
        torch.rand(size, dimension, generator=draw(name, n, per_axis), dtype=torch.float64)
        for name, size in (("points", n), ("fresh", fresh))
    )
    noise = torch.randn(n, generator=draw("noise", n, per_axis), dtype=torch.float64)
    module = localized_averages(x, function(x) + NOISE * noise, per_axis=per_axis)
    with torch.no_grad():
        return float((module(at) - function(at)).square().mean())


def _sharp(*, sharpness: float, fresh: int) -> dict[str, Any]:
    shape: dict[str, Any] = {"per_axis": 8, "dimension": 2}
    coefficients, cubes = torch.ones(64, dtype=torch.float64), torch.arange(64)
    x = torch.rand(fresh // 20, 2, generator=streams(0)("points"), dtype=torch.float64)
    units = [
        Localized(coefficients, cubes, sharpness=k, **shape).units(x) for k in (sharpness, math.inf)
    ]
    return {"difference": float((units[0] - units[1]).abs().max())}


def exponents(frame: pd.DataFrame, x: str) -> dict[int, float]:
    """Return, for every seed, the slope of the logarithm of the error over that of a column."""
    found = {}
    for seed, own in frame.groupby("seed"):
        if own[x].nunique() > 2:
            line = np.polyfit(np.log(own[x].astype(float)), np.log(own["error"].astype(float)), 1)
            found[int(str(seed))] = float(line[0])
    return found
