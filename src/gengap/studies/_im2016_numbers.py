"""Barriers between the ends of optimizers, how far they go, and the planes through them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, final

import pandas as pd

from gengap.curvature import barrier
from gengap.lab import Lab, Measurement, Progress

from ._im2016_trials import CORNERS, NETWORKS, OPTIMIZERS, SIZE, Scale, trial
from ._read_paths import (
    PATH,
    SURFACE,
    distance_from_start,
    path_between,
    plane_through,
    profile_of,
    rows_of,
)

_ALPHAS = (-0.25, 1.25, 25)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Numbers:
    """What was read.

    Attributes:
        paths: One row a network, pair of optimizers, seed, alpha and half: loss and accuracy.
        barriers: One row a network, pair and seed: the barrier between the two ends, in nats.
        distances: One row a network, optimizer and seed: distance from start to end.
        planes: Network to the readings of the plane of the first seed, and the named points.
    """

    paths: pd.DataFrame = field(repr=False)
    barriers: pd.DataFrame = field(repr=False)
    distances: pd.DataFrame = field(repr=False)
    planes: dict[str, tuple[pd.DataFrame, dict[str, tuple[float, float]]]] = field(repr=False)


def measure(
    lab: Lab,
    scale: Scale,
    seeds: Sequence[int],
    *,
    compute: bool,
    progress: Callable[[Progress], None] | None,
) -> Numbers:
    """Read what lies between the weights of complete trials, and keep it in the lab."""
    plan: list[tuple[dict[str, Any], Measurement]] = []
    for network in NETWORKS:
        for seed in seeds:
            ended = {name: trial(network, name, scale, seed) for name in OPTIMIZERS}
            ended = {k: one for k, one in ended.items() if lab.store.is_complete(one.id)}
            place = {"network": network, "seed": seed}
            for name, one in ended.items():
                plan.append(({**place, "optimizer": name}, distance_from_start(lab, one)))
            for first, second in combinations(ended, 2):
                asked = path_between(lab, ended[first], ended[second], alphas=_ALPHAS)
                plan.append(({**place, "pair": f"{first} to {second}"}, asked))
            if seed == seeds[0] and all(name in ended for name in CORNERS):
                corners = {name: ended[name] for name in CORNERS}
                plan.append((place, plane_through(lab, corners, size=SIZE[scale])))
    found = lab.measure((one for _, one in plan), compute=compute, progress=progress)
    told = [(place, one.name, v) for (place, one), v in zip(plan, found, strict=True) if v]
    paths = [(place, values) for place, name, values in told if name == "path"]
    planes = {place["network"]: values for place, name, values in told if name == "plane"}
    distances = [{**place, **values} for place, name, values in told if name == "distance"]
    return Numbers(
        paths=pd.DataFrame(
            [{**place, **row} for place, values in paths for row in rows_of(values, PATH)],
            columns=["network", "seed", "pair", *PATH],
        ),
        barriers=pd.DataFrame(
            [{**place, "barrier": barrier(profile_of(values)).value} for place, values in paths],
            columns=["network", "seed", "pair", "barrier"],
        ),
        distances=pd.DataFrame(distances, columns=["network", "seed", "optimizer", "distance"]),
        planes={network: _plane(values) for network, values in planes.items()},
    )


def _plane(values: dict[str, Any]) -> tuple[pd.DataFrame, dict[str, tuple[float, float]]]:
    named = {name: (float(x), float(y)) for name, (x, y) in values["named"].items()}
    return pd.DataFrame(rows_of(values, SURFACE)), named
