"""The loss between start and end, between two ends, and the way of SGD beside the line."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, final

import pandas as pd

from gengap.curvature import barrier, monotonicity, trajectory
from gengap.lab import Lab, Measurement, Progress, Trial
from gengap.risk import Risk

from ._goodfellow2015_trials import Scale, networks
from ._read_paths import PATH, path_between, profile_of, rows_of, starting

FROM_START, BETWEEN = "start to end", "end to another end"
_ALPHAS = {FROM_START: (-0.25, 1.5, 29), BETWEEN: (-0.25, 1.25, 25)}


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Numbers:
    """What was read.

    Attributes:
        paths: One row a network, kind of path, seed, alpha and half: loss and accuracy.
        bumps: One row a network, kind of path and seed: the loss at alpha 0, how far the loss
            rises on the way, and how far it goes above the chord (`barrier`).
        ways: One row a network and recorded epoch of the first seed: projection on the line and
            distance from it, as shares of the line's length.
    """

    paths: pd.DataFrame = field(repr=False)
    bumps: pd.DataFrame = field(repr=False)
    ways: pd.DataFrame = field(repr=False)


def measure(
    lab: Lab,
    scale: Scale,
    seeds: Sequence[int],
    *,
    compute: bool,
    progress: Callable[[Progress], None] | None,
) -> Numbers:
    """Read the paths between the weights of complete trials, and keep them in the lab."""
    plan: list[tuple[dict[str, Any], Measurement]] = []
    for network in networks(scale):
        ended = {seed: network.trial(seed) for seed in seeds}
        for seed, trial in ended.items():
            place = {"network": network.name, "kind": FROM_START, "seed": seed}
            plan.append((place, path_between(lab, None, trial, alphas=_ALPHAS[FROM_START])))
        for one, other in pairwise(seeds):
            if lab.store.is_complete(ended[one].id):
                place = {"network": network.name, "kind": BETWEEN, "seed": other}
                asked = path_between(lab, ended[one], ended[other], alphas=_ALPHAS[BETWEEN])
                plan.append((place, asked))
        way = [network.trial(seeds[0], epochs=epochs) for epochs in network.recorded]
        if all(lab.store.is_complete(trial.id) for trial in way):
            place = {"network": network.name, "kind": "way", "seed": seeds[0]}
            plan.append((place, _way(lab, way, ended[seeds[0]])))
    found = lab.measure((one for _, one in plan), compute=compute, progress=progress)
    return _numbers([(place, values) for (place, _), values in zip(plan, found, strict=True)])


def _way(lab: Lab, recorded: Sequence[Trial], last: Trial) -> Measurement:
    def compute() -> dict[str, Any]:
        end = lab.model(last)
        points = [starting(last), *(lab.model(trial) for trial in recorded), end]
        steps = [0, *(trial.recipe.epochs for trial in (*recorded, last))]
        found = trajectory(Risk(end, last.splits()[0]), points, steps=steps)
        frame = found.frame()
        return {
            "epoch": frame["step"].tolist(),
            "along": frame["alpha"].tolist(),
            "beside": (found.residuals / found.length).tolist(),
        }

    options = {"through": [trial.id for trial in recorded]}
    return Measurement(trial=last, name="way", options=options, compute=compute)


_WAY = ("epoch", "along", "beside")


def _numbers(found: Sequence[tuple[dict[str, Any], dict[str, Any] | None]]) -> Numbers:
    paths, bumps, ways = [], [], []
    for place, values in found:
        if values is None:
            continue
        if place["kind"] == "way":
            ways += [{**place, **row} for row in rows_of(values, _WAY)]
            continue
        paths += [{**place, **row} for row in rows_of(values, PATH)]
        profile = profile_of(values)
        at = [a for a, half in zip(values["alpha"], values["half"], strict=True) if half == "train"]
        bumps.append({
            **place,
            "before": float(profile.losses["train"][at.index(0.0)]),
            "rise": monotonicity(profile).value,
            "barrier": barrier(profile).value,
        })
    place_columns = ["network", "kind", "seed"]
    return Numbers(
        paths=pd.DataFrame(paths, columns=[*place_columns, *PATH]),
        bumps=pd.DataFrame(bumps, columns=[*place_columns, "before", "rise", "barrier"]),
        ways=pd.DataFrame(ways, columns=[*place_columns, *_WAY]),
    )
