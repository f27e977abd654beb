"""The maximum-entropy conditions of every network, after every epoch that is read."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, final

import pandas as pd

from gengap.lab import Lab, Measurement, Progress, Trial
from gengap.measures import maximum_entropy

from ._gather import Entry
from ._zheng2017_trials import PLANS, Plan, Scale

_PLACE = ("variant", "epochs", "seed")
_WHOLE = ("residual", "relative_residual")
_LAYER = ("correlation", "chance", "probe_loss", "probe_accuracy", "probe_converged")


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Numbers:
    """What was read.

    Attributes:
        moments: One row a variant, epoch and seed: the moment residual.
        layers: One row a variant, epoch, seed and layer, counted from 1.
    """

    moments: pd.DataFrame = field(repr=False)
    layers: pd.DataFrame = field(repr=False)


def measure(
    lab: Lab,
    scale: Scale,
    entries: Sequence[Entry],
    *,
    compute: bool,
    progress: Callable[[Progress], None] | None,
) -> Numbers:
    """Read the conditions from complete trials, and keep them in the lab."""
    plan = PLANS[scale]
    ready = [entry for entry in entries if lab.store.is_complete(entry.trial.id)]
    asked = [_conditions(lab, plan, entry.trial) for entry in ready]
    found = lab.measure(asked, compute=compute, progress=progress)
    moments, layers = [], []
    for entry, values in zip(ready, found, strict=True):
        if values is None:
            continue
        place = {**entry.place, "seed": entry.trial.seed}
        moments.append({**place, **{name: values[name] for name in _WHOLE}})
        for depth, layer in enumerate(values["layers"], start=1):
            layers.append({**place, "layer": depth, **{name: layer[name] for name in _LAYER}})
    return Numbers(
        moments=pd.DataFrame(moments, columns=[*_PLACE, *_WHOLE]),
        layers=pd.DataFrame(layers, columns=[*_PLACE, "layer", *_LAYER]),
    )


def _conditions(lab: Lab, plan: Plan, trial: Trial) -> Measurement:
    def compute() -> dict[str, Any]:
        train, test = trial.splits()
        assert test is not None
        halves = train[: plan.read], test[: plan.read]
        return asdict(maximum_entropy(lab.model(trial), *halves, layers=plan.layers))

    options = {"examples": plan.read, "layers": list(plan.layers)}
    return Measurement(trial=trial, name="maximum-entropy", options=options, compute=compute)
