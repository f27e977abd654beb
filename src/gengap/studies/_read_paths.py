"""Readings of the loss between points of parameter space that trials have reached."""

import re
from collections.abc import Mapping
from typing import Any, Literal

import pandas as pd
import torch
from torch import nn

from gengap.curvature import Profile, curve, line, plane
from gengap.lab import Lab, Measurement, Trial
from gengap.risk import Risk
from gengap.training import build_seeded

START = "start"
PATH = ("alpha", "half", "loss", "accuracy")
SURFACE = ("x", "y", "half", "loss", "accuracy")


def path_between(
    lab: Lab,
    first: Trial | None,
    last: Trial,
    *,
    alphas: tuple[float, float, int],
    kind: Literal["line", "curve"] = "line",
) -> Measurement:
    """Return the reading of a path to a trial's weights from another's, or from its own start.

    Args:
        lab: Where the trials are.
        first: Whose weights are at alpha 0; None takes the weights that `last` started from.
        last: Whose weights are at alpha 1, and whose data are read.
        alphas: First, last and number of points.
        kind: A straight line, or the curve of Keskar et al.
    """
    follow = line if kind == "line" else curve

    def compute() -> dict[str, Any]:
        train, test = last.splits()
        end = lab.model(last)
        start = starting(last) if first is None else lab.model(first)
        where = torch.linspace(*alphas, dtype=torch.float64)
        options: dict[str, Any] = {"test": test, "alphas": where, "batch_norm": "average"}
        frame = follow(Risk(end, train), start, end, **options).frame()
        return {column: frame[column].tolist() for column in PATH}

    origin = START if first is None else first.id
    asked: dict[str, Any] = {"from": origin, "alphas": alphas}
    if kind != "line":
        asked["kind"] = kind
    return Measurement(trial=last, name="path", options=asked, compute=compute)


def plane_through(lab: Lab, trials: Mapping[str, Trial], *, size: int) -> Measurement:
    """Return the reading of the plane through the weights of three trials, named."""
    first = next(iter(trials.values()))

    def compute() -> dict[str, Any]:
        train, _ = first.splits()
        points = {name: lab.model(trial) for name, trial in trials.items()}
        found = plane(Risk(lab.model(first), train), points, size=size, batch_norm="average")
        frame = found.frame()
        named = {name: list(place) for name, place in found.named.items()}
        return {**{column: frame[column].tolist() for column in SURFACE}, "named": named}

    options = {"through": {name: trial.id for name, trial in trials.items()}, "size": size}
    return Measurement(trial=first, name="plane", options=options, compute=compute)


def distance_from_start(lab: Lab, trial: Trial) -> Measurement:
    """Return how far a trial's weights are from those it started from, Euclidean."""

    def compute() -> dict[str, Any]:
        start = dict(starting(trial).named_parameters())
        ends = lab.model(trial).named_parameters()
        squares = [(p - start[name]).detach().double().square().sum() for name, p in ends]
        return {"distance": float(sum(squares)) ** 0.5}

    return Measurement(trial=trial, name="distance", compute=compute)


def starting(trial: Trial) -> nn.Module:
    """Return the network with the weights that a trial started from."""
    model = build_seeded(trial.builder(), trial.seed)
    model.eval()
    return model


def rows_of(values: Mapping[str, Any], columns: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return columns that were kept as lists as rows."""
    lists = (values[column] for column in columns)
    return [dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)]


def profile_of(values: Mapping[str, Any]) -> Profile:
    """Return the training half of a path that was kept as columns."""
    frame = pd.DataFrame({name: values[name] for name in PATH}).query("half == 'train'")
    alphas, losses, accuracies = (
        torch.tensor(frame[name].to_numpy(dtype=float)) for name in ("alpha", "loss", "accuracy")
    )
    return Profile(
        kind="line",
        alphas=alphas,
        losses={"train": losses},
        accuracies={"train": accuracies},
        length=1.0,
    )


def file_name(name: str) -> str:
    """Return a network's name as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
