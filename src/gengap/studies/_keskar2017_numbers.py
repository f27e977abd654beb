"""Sharpness, distances and paths of the networks that Keskar et al. (2017) compare."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, final

import pandas as pd
import torch

from gengap._streams import streams
from gengap.curvature import keskar_sharpness
from gengap.lab import Lab, Measurement, Progress, Trial
from gengap.risk import Risk

from ._gather import Entry, Gathered
from ._keskar2017_trials import LARGE, SMALL, Network, Scale, networks
from ._read_paths import PATH, distance_from_start, path_between, rows_of

EPSILONS = (1e-3, 5e-4)
FULL = "full space"
_STARTS = {"smoke": 2, "small": 2, "paper": 5}
_COLUMNS = {"smoke": 20, "small": 100, "paper": 100}
_ALPHAS = 25
_KINDS: dict[Literal["line", "curve"], tuple[float, float]] = {
    "line": (-1.0, 2.0),
    "curve": (0.0, 1.0),
}


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Numbers:
    """What was measured of the trained networks.

    Attributes:
        sharpness: One row a network, regime, warm start, seed, epsilon and space: the value in
            the paper's units, evaluations, and the spread over starting points.
        distances: One row a network, regime and seed: distance from the starting weights.
        paths: One row a network, kind of path, seed, alpha and half: loss and accuracy from the
            small-batch weights (0) to the large-batch ones (1).
    """

    sharpness: pd.DataFrame = field(repr=False)
    distances: pd.DataFrame = field(repr=False)
    paths: pd.DataFrame = field(repr=False)


def measure(
    lab: Lab,
    entries: Sequence[Entry],
    scale: Scale,
    *,
    compute: bool,
    progress: Callable[[Progress], None] | None,
) -> Numbers:
    """Measure the networks of the trials that are complete, and keep it in the lab."""
    whole = [entry for entry in entries if entry.place["part"] != "begun"]
    plan = [*_sharpnesses(lab, whole, scale), *_distances(lab, whole), *_paths(lab, whole, scale)]
    found = lab.measure((one for _, one in plan), compute=compute, progress=progress)
    rows: dict[str, list[dict[str, Any]]] = {"sharpness": [], "distance": [], "path": []}
    for (place, one), values in zip(plan, found, strict=True):
        if values is None:
            continue
        if one.name == "path":
            rows["path"] += [{**place, **row} for row in rows_of(values, PATH)]
        else:
            rows[one.name].append({**place, **values})
    return Numbers(
        sharpness=pd.DataFrame(rows["sharpness"], columns=[*_PLACE, *_SHARPNESS]),
        distances=pd.DataFrame(rows["distance"], columns=[*_PLACE, "distance"]),
        paths=pd.DataFrame(rows["path"], columns=["network", "seed", "kind", *PATH]),
    )


def at_least_loss(found: Gathered) -> pd.DataFrame:
    """Return the ends with losses and accuracies of the epoch whose weights were kept."""
    columns = ["train_loss", "train_accuracy", "test_loss", "test_accuracy"]
    trained = found.history[found.history["epoch"] > 0].dropna(subset="train_loss")
    best = trained.loc[trained.groupby("trial")["train_loss"].idxmin()].set_index("trial")
    ends, at = found.ends.copy(), found.ends["trial"]
    kept = at.isin(best.index) & (found.ends["part"] != "begun")
    ends.loc[kept, columns] = best.loc[at[kept], columns].to_numpy()
    return ends


_PLACE = ("part", "network", "regime", "warm", "seed")
_SHARPNESS = ("epsilon", "space", "value", "loss", "evaluations", "spread")
_Plan = list[tuple[dict[str, Any], Measurement]]


def _place(entry: Entry) -> dict[str, Any]:
    return {**entry.place, "seed": entry.trial.seed}


def _sharpnesses(lab: Lab, entries: Sequence[Entry], scale: Scale) -> _Plan:
    found, measured = [], {network.name: network.measured for network in networks(scale)}
    for entry in entries:
        of = measured[str(entry.place["network"])]
        for epsilon, columns in _boxes(entry, scale):
            options = {"epsilon": epsilon, "subspace": columns, "starts": _STARTS[scale]}
            place = {
                **_place(entry),
                "epsilon": epsilon,
                "space": FULL if columns is None else f"{columns} directions",
            }
            asked = Measurement(
                trial=entry.trial,
                name="sharpness",
                options=options if of is None else {**options, "examples": of},
                compute=_sharpness(lab, entry.trial, of, options),
            )
            found.append((place, asked))
    return found


def _boxes(entry: Entry, scale: Scale) -> list[tuple[float, int | None]]:
    """Return each size of box and its columns, None in the full space; figure 5 has one."""
    if entry.place["part"] == "warm":
        return [(EPSILONS[0], None)]
    return [(epsilon, columns) for epsilon in EPSILONS for columns in (None, _COLUMNS[scale])]


def _sharpness(
    lab: Lab, trial: Trial, examples: int | None, options: dict[str, Any]
) -> Callable[[], dict[str, Any]]:
    def compute() -> dict[str, Any]:
        train, _ = trial.splits()
        if examples is not None:
            drawn = torch.randperm(len(train), generator=streams(0)("sharpness"))
            train = train[drawn[:examples].sort().values]
        risk = Risk(lab.model(trial), train, dtype=torch.float64)
        found = keskar_sharpness(risk, **options)
        return {
            "value": found.value,
            "loss": found.loss,
            "evaluations": found.evaluations,
            "spread": found.spread,
        }

    return compute


def _distances(lab: Lab, entries: Sequence[Entry]) -> _Plan:
    return [
        (_place(entry), distance_from_start(lab, entry.trial))
        for entry in entries
        if entry.place["part"] == "regimes"
    ]


def _paths(lab: Lab, entries: Sequence[Entry], scale: Scale) -> _Plan:
    trials = {
        (entry.place["network"], entry.place["regime"], entry.trial.seed): entry.trial
        for entry in entries
        if entry.place["part"] == "regimes" and lab.store.is_complete(entry.trial.id)
    }
    found = []
    for network in networks(scale):
        for seed in sorted({seed for name, _, seed in trials if name == network.name}):
            ends = [trials.get((network.name, regime, seed)) for regime in (SMALL, LARGE)]
            if ends[0] is not None and ends[1] is not None:
                found += _path(lab, network, ends[0], ends[1])
    return found


def _path(lab: Lab, network: Network, small: Trial, large: Trial) -> _Plan:
    return [
        (
            {"network": network.name, "seed": large.seed, "kind": kind},
            path_between(lab, small, large, alphas=(*ends, _ALPHAS), kind=kind),
        )
        for kind, ends in _KINDS.items()
    ]
