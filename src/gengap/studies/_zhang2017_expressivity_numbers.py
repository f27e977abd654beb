"""Constructed networks of many sizes and depths, on real images and random points."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, final

import pandas as pd
import scipy.linalg
import torch
from torch import Tensor

from gengap._streams import streams
from gengap.capacity import memorize
from gengap.data import load
from gengap.lab import Lab, Measurement, Progress

Scale = Literal["smoke", "small", "paper"]
IMAGES = {"smoke": ("digits",), "small": ("mnist", "cifar-10"), "paper": ("mnist", "cifar-10")}
SIZES = {
    "smoke": (100, 1000, 10_000),
    "small": (100, 1000, 10_000, 100_000, 1_000_000),
    "paper": (100, 1000, 10_000, 100_000, 1_000_000),
}
DEEP = {"smoke": 1000, "small": 10_000, "paper": 10_000}
DEPTHS = tuple(range(2, 11))
PLACES = (0.0, 0.01, 0.1, 0.5)
"""Where a threshold is between its neighbours: 0 at the lower one, 1/2 midway."""
PLACED = {
    "smoke": (100, 200, 400),
    "small": (100, 200, 400, 800, 1600),
    "paper": (100, 200, 400, 800, 1600),
}
DIMENSION, CLASSES = 20, 10
_DENSE = 1000


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Numbers:
    """What was measured, one frame a part; each has a column seed.

    Attributes:
        images: One row a data set, kind of labels and seed.
        sizes: One row a number of random points and seed.
        depths: One row a depth and seed.
        places: One row a number of points, place of the thresholds and seed: largest error of a
            triangular solve, condition number and largest weight.
        seconds: What all of it took.
    """

    images: pd.DataFrame = field(repr=False)
    sizes: pd.DataFrame = field(repr=False)
    depths: pd.DataFrame = field(repr=False)
    places: pd.DataFrame = field(repr=False)
    seconds: float


BUILT = (
    *("n", "d", "weights", "width", "wrong", "error", "dense_error", "slope", "exact"),
    *("make_seconds", "evaluate_seconds", "test_accuracy"),
)
_KEYS = {
    "images": ("data", "labels", "seed"),
    "sizes": ("n", "seed"),
    "depths": ("depth", "n", "seed"),
    "places": ("n", "place", "seed"),
}
_VALUES = {
    **dict.fromkeys(("images", "sizes", "depths"), BUILT),
    "places": ("error", "condition", "largest"),
}


def measure(
    lab: Lab,
    scale: Scale,
    seeds: Sequence[int],
    *,
    compute: bool,
    progress: Callable[[Progress], None] | None,
) -> Numbers:
    """Construct what has not been, and keep in the lab what was measured of it."""
    plan = [asked for seed in seeds for asked in _asked(scale, seed)]
    found = lab.measure((one for _, _, one in plan), compute=compute, progress=progress)
    frames: dict[str, Any] = {}
    seconds = 0.0
    for part, keys in _KEYS.items():
        rows = [
            {**values, **place}
            for (name, place, _), values in zip(plan, found, strict=True)
            if name == part and values is not None
        ]
        columns = dict.fromkeys([*keys, *_VALUES[part], "seconds"])
        frames[part] = pd.DataFrame(rows, columns=list(columns))
        seconds += float(frames[part]["seconds"].sum())
    return Numbers(**frames, seconds=seconds)


def _asked(scale: Scale, seed: int) -> list[tuple[str, dict[str, Any], Measurement]]:
    places: list[tuple[str, dict[str, Any]]] = []
    for name in IMAGES[scale]:
        for kind in ("random", "true"):
            places.append(("images", {"data": name, "labels": kind, "seed": seed}))
    places += [("sizes", {"n": n, "seed": seed}) for n in SIZES[scale]]
    deep = DEEP[scale]
    places += [("depths", {"depth": depth, "n": deep, "seed": seed}) for depth in DEPTHS]
    for n in PLACED[scale]:
        places += [("places", {"n": n, "place": place, "seed": seed}) for place in PLACES]
    return [(part, place, _measurement(part, place)) for part, place in places]


def _measurement(part: str, place: dict[str, Any]) -> Measurement:
    computed: dict[str, Callable[..., dict[str, Any]]] = {
        "images": _of_images,
        "sizes": _of_points,
        "depths": _of_points,
        "places": _placed,
    }

    def compute() -> dict[str, Any]:
        start = time.perf_counter()
        values = computed[part](**place)
        return {**values, "seconds": time.perf_counter() - start}

    return Measurement(name=f"memorize-{part}", options=place, compute=compute)


def _of_images(*, data: str, labels: str, seed: int) -> dict[str, Any]:
    train, test = load(data)
    true, wanted = train.targets, test.targets
    drawn = torch.randint(0, CLASSES, true.shape, generator=streams(seed)("labels"))
    y = drawn if labels == "random" else true
    assert isinstance(train.inputs, Tensor)
    assert isinstance(test.inputs, Tensor)
    return _built(train.inputs, y, test=(test.inputs, wanted), seed=seed)


def points(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return n standard normal points and random labels."""
    x = torch.randn(n, DIMENSION, generator=streams(seed)("points", n))
    return x, torch.randint(0, CLASSES, (n,), generator=streams(seed)("labels", n))


def _of_points(*, n: int, seed: int, depth: int = 2) -> dict[str, Any]:
    return _built(*points(n, seed), depth=depth, seed=seed)


def _built(
    x: Tensor,
    y: Tensor,
    *,
    depth: int = 2,
    seed: int,
    test: tuple[Tensor, Tensor] | None = None,
) -> dict[str, Any]:
    start = time.perf_counter()
    module = memorize(x, y, depth=depth, seed=seed)
    made = time.perf_counter() - start
    start = time.perf_counter()
    with torch.no_grad():
        outputs = module(x)
        evaluated = time.perf_counter() - start
        dense = module.plain(x[:_DENSE]) - y[:_DENSE]
        right = None if test is None else (module.classify(test[0]) == test[1]).double().mean()
    return {
        "n": len(x),
        "d": x[0].numel(),
        "weights": sum(p.numel() for p in module.parameters()),
        "width": module.width,
        "wrong": int((outputs.round() != y).sum()),
        "error": float((outputs - y).abs().max()),
        "dense_error": float(dense.abs().max()),
        "slope": module.achieved.slope if module.achieved else None,
        "exact": bool(module.achieved and module.achieved.exact_projection),
        "make_seconds": made,
        "evaluate_seconds": evaluated,
        "test_accuracy": None if right is None else float(right),
    }


def _placed(*, n: int, place: float, seed: int) -> dict[str, Any]:
    """Solve the triangular system of lemma 1 as it stands, thresholds where they are asked for."""
    x, y = points(n, seed)
    direction = torch.randn(DIMENSION, generator=streams(seed)("direction"), dtype=torch.float64)
    t, order = (x.double() @ direction).sort()
    before = torch.cat([t[:1] - 1, t[:-1]])
    matrix = torch.relu(t[:, None] - (before + place * (t - before))).numpy()
    wanted = y[order].double().numpy()
    w = scipy.linalg.solve_triangular(matrix, wanted, lower=True)
    return {
        "error": float(abs(matrix @ w - wanted).max()),
        "condition": float(torch.linalg.cond(torch.from_numpy(matrix))),
        "largest": float(abs(w).max()),
    }
