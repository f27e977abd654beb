"""What is measured of the networks of a phase plane: each alone, and two by two."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import torch

from gengap.capacity import effective_load
from gengap.curvature import bezier, hessian, mode_connectivity, top_eigenpairs, trace
from gengap.lab import Lab, Measurement, Progress, Trial
from gengap.measures import cka
from gengap.models import num_parameters
from gengap.risk import Risk
from gengap.training import build_seeded, kept_row

from ._phase_settings import Cell

ALONE = (
    *("train_error", "test_error", "train_loss", "test_loss"),
    *("top_eigenvalue", "trace", "converged"),
)
TOGETHER = ("connectivity", "error_connectivity", "straight", "cka", "cka_error")
COLUMNS = ("load", "temperature", "pair", "examples_per_weight", "status", *ALONE, *TOGETHER)
_TRACE_ERROR, _POINTS = 0.1, 13


def frame(
    lab: Lab,
    cells: Sequence[Cell],
    *,
    steps: int,
    compute: bool,
    progress: Callable[[Progress], None] | None,
) -> pd.DataFrame:
    """Return one row a cell and pair; numbers of one network are means over the two."""
    trials = list({trial.id: trial for cell in cells for trial in cell.trials}.values())
    ready = [cell for cell in cells if all(lab.store.is_complete(t.id) for t in cell.trials)]
    kept = lab.measure([_curvature(lab, one) for one in trials], compute=compute, progress=progress)
    alone = {trial.id: values for trial, values in zip(trials, kept, strict=True)}
    kept = lab.measure(
        [_together(lab, cell.trials, steps) for cell in ready], compute=compute, progress=progress
    )
    together = {id(cell): values for cell, values in zip(ready, kept, strict=True)}
    ends = lab.frame(trials).set_index("trial")
    rows = []
    for cell in cells:
        own = [{**_end(lab, trial), **_known(alone[trial.id])} for trial in cell.trials]
        pair = _known(together.get(id(cell)))
        row: dict[str, Any] = {
            "load": cell.load,
            "temperature": cell.temperature,
            "pair": cell.pair,
            "examples_per_weight": _load(cell),
            "status": ", ".join(str(ends.loc[trial.id, "status"]) for trial in cell.trials),
        }
        row |= {name: sum(one.get(name, math.nan) for one in own) / 2 for name in ALONE}
        rows.append(row | {name: pair.get(name, math.nan) for name in TOGETHER})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _known(values: dict[str, Any] | None) -> dict[str, float]:
    return {name: math.nan if v is None else float(v) for name, v in (values or {}).items()}


def _end(lab: Lab, trial: Trial) -> dict[str, float]:
    """Return errors and losses of the network that a complete trial keeps."""
    if not lab.store.is_complete(trial.id):
        return {}
    kept = kept_row(lab.store.history(trial.id).to_dict("records"), trial.recipe)
    finite = {name: value for name, value in kept.items() if math.isfinite(value)}
    found: dict[str, float] = {}
    for half in ("train", "test"):
        accuracy, loss = (finite.get(f"{half}_{k}", math.nan) for k in ("accuracy", "loss"))
        found |= {f"{half}_error": 1 - accuracy, f"{half}_loss": loss}
    return found


def _load(cell: Cell) -> float:
    """Return training examples with a true label per parameter."""
    split, _ = cell.trials[0].data.load()
    noise = cell.trials[0].data.spec.get("label_noise", [0.0])[0]
    weights = num_parameters(build_seeded(cell.trials[0].builder(), 0))
    return effective_load(len(split), capacity=weights, label_noise=noise)


def _is_finite(risk: Risk) -> bool:
    return all(bool(value.isfinite().all()) for value in risk.params.values())


def _curvature(lab: Lab, trial: Trial) -> Measurement:
    def compute() -> dict[str, Any]:
        risk = Risk(lab.model(trial), trial.splits()[0])
        if not _is_finite(risk):
            return {}
        curvature = hessian(risk)
        top = top_eigenpairs(curvature, k=1, tolerance=1e-3)
        whole = trace(curvature, standard_error=_TRACE_ERROR)
        return {
            "top_eigenvalue": float(top.values[0]),
            "trace": whole.value,
            "trace_error": whole.standard_error,
            "converged": bool(top.converged.all()) and whole.converged,
        }

    options = {"trace_error": _TRACE_ERROR}
    return Measurement(trial=trial, name="phase-curvature", options=options, compute=compute)


def _together(lab: Lab, trials: tuple[Trial, Trial], steps: int) -> Measurement:
    first, second = trials

    def compute() -> dict[str, Any]:
        models = [lab.model(trial) for trial in trials]
        train, _ = first.splits()
        risk = Risk(models[0], train)
        if not (_is_finite(risk) and _is_finite(Risk(models[1], train))):
            return {}
        where = torch.linspace(0, 1, _POINTS, dtype=torch.float64)
        found = bezier(risk, models[0], models[1], steps=steps, alphas=where, batch_norm="average")
        alike = cka(models[0], models[1], train)
        error = mode_connectivity(found.profile, quantity="error")
        return {
            "connectivity": mode_connectivity(found.profile).value,
            "error_connectivity": error.value,
            "straight": mode_connectivity(found.straight).value,
            "cka": alike.value,
            "cka_error": alike.standard_error,
        }

    options = {"with": second.id, "steps": steps, "points": _POINTS}
    return Measurement(trial=first, name="phase-pair", options=options, compute=compute)
