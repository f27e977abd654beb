"""Numbers of Smith and Le (2018): the evidence over the prior, the optimum of every sweep."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
import torch

from gengap.curvature import log_evidence, optimum_batch_size, posterior_mode
from gengap.lab import Lab, Measurement, Trial
from gengap.risk import Risk

from ._gather import ENDED, Entry
from ._smith2018_trials import PRECISIONS

EVIDENCE = (
    *("precision", "log_ratio", "log_occam_factor", "loss", "penalty", "margin", "converged"),
    *("train_loss", "train_accuracy", "test_loss", "test_accuracy"),
)
CHANCE = 0.1
"""Test accuracy of a run that diverged: one of ten classes."""

OPTIMUM = ("what", "sweep", "value", "optimum", "standard_error", "interior", "accuracy", "largest")


def evidences(lab: Lab, entries: Sequence[Entry], *, compute: bool) -> pd.DataFrame:
    """Return one row a run of part "evidence" and prior precision.

    Columns: `labels`, `seed`, and of the minimum of the penalized loss: `log_ratio`, the log
    evidence over that of the null model; its parts in nats; `margin`, the mean signed distance
    of the training images from the boundary; losses (means, without penalty) and accuracies.
    """
    own = [entry for entry in entries if entry.place["part"] == "evidence"]
    asked = [
        Measurement(
            trial=entry.trial,
            name="evidence",
            options={"precisions": list(PRECISIONS)},
            compute=functools.partial(_measure, lab, entry.trial),
        )
        for entry in own
    ]
    rows = []
    for entry, values in zip(own, lab.measure(asked, compute=compute), strict=True):
        for row in (values or {}).get("rows", []):
            rows.append({"labels": entry.place["labels"], "seed": entry.trial.seed, **row})
    return pd.DataFrame(rows, columns=["labels", "seed", *EVIDENCE])


def _measure(lab: Lab, trial: Trial) -> dict[str, Any]:
    """Follow the minimum of the penalized loss from the highest precision to the lowest."""
    train, test = trial.splits()
    assert test is not None
    risk = Risk(lab.model(trial), train, dtype=torch.float64)
    rows, start = [], None
    for precision in PRECISIONS:
        mode = posterior_mode(risk, precision, start=start)
        found = log_evidence(risk, precision, point=mode.params)
        start = mode.params
        rows.append({
            "precision": precision,
            "log_ratio": found.log_ratio,
            "log_occam_factor": found.log_occam_factor,
            "loss": found.loss,
            "penalty": found.penalty,
            "converged": mode.converged,
            "margin": _margin(risk, mode.params),
            **_told("train", risk, mode.params),
            **_told("test", risk.on(test), mode.params),
        })
    return {"rows": rows}


def _scores(risk: Risk, params: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return z of every example, positive where it is right."""
    weight, bias = (params[f"line.{name}"].double() for name in ("weight", "bias"))
    x, y = zip(*risk.batches(), strict=True)
    z = torch.cat(x).double().flatten(1) @ weight[0] + bias
    return z * (2 * torch.cat(y) - 1)


def _margin(risk: Risk, params: Mapping[str, torch.Tensor]) -> float:
    return float(_scores(risk, params).mean() / params["line.weight"].norm())


def _told(half: str, risk: Risk, params: Mapping[str, torch.Tensor]) -> dict[str, float]:
    scores = _scores(risk, params)
    return {
        f"{half}_loss": float(torch.nn.functional.softplus(-scores).mean()),
        f"{half}_accuracy": float((scores > 0).double().mean()),
    }


def optima(ends: pd.DataFrame) -> pd.DataFrame:
    """Return one row a sweep of which at least three batch sizes have ended: its optimum.

    Columns: `optimum`, the batch size at which `optimum_batch_size` puts the top; the
    `standard_error` of its logarithm; `accuracy`, the best mean test accuracy; `largest`, the
    mean test accuracy of the largest batch; `interior`, whether the optimum is inside the sweep.
    """
    own = ends[(ends["part"] == "sweep") & ends["status"].isin(ENDED)]
    lost = own["status"] == "diverged"
    own = own.assign(test_accuracy=own["test_accuracy"].mask(lost, CHANCE)).dropna(
        subset=["test_accuracy"]
    )
    rows = []
    for (what, sweep, value), part in own.groupby(["what", "sweep", "value"], sort=False):
        runs = {
            int(cast("Any", size)): group["test_accuracy"].tolist()
            for size, group in part.groupby("batch_size")
        }
        if len(runs) < 3:
            continue
        found = optimum_batch_size(runs)
        rows.append({
            "what": what,
            "sweep": sweep,
            "value": value,
            "optimum": found.batch_size,
            "standard_error": found.standard_error,
            "interior": found.interior,
            "accuracy": found.accuracy,
            "largest": float(np.mean(runs[max(runs)])),
        })
    return pd.DataFrame(rows, columns=list(OPTIMUM))


def slope(optima: pd.DataFrame, what: str) -> tuple[float, float]:
    """Return the slope of ln(optimum) in ln(value), by least squares, and its standard error.

    The error is that of the optima, carried through; NaN where one is not known or fewer than two
    optima lie inside of their sweeps.
    """
    part = optima[(optima["what"] == what) & optima["interior"].astype(bool)]
    if len(part) < 2:
        return math.nan, math.nan
    x = np.log(part["value"].to_numpy(float))
    y = np.log(part["optimum"].to_numpy(float))
    lever = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    return float(lever @ y), float(
        np.sqrt((lever**2) @ part["standard_error"].to_numpy(float) ** 2)
    )
