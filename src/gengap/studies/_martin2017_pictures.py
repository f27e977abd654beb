"""The tables and figures of Martin and Mahoney (2017)."""

import pandas as pd

from gengap.auditing import PhasePlane
from gengap.report import Axis, Chart, Measured, Table, curves

from ._martin2017_numbers import CONTINUOUS, CROSSING, ISING, STUCK, Numbers

_LOAD = Axis("load", title="Load (examples per weight)")


def tables(numbers: Numbers) -> list[Table]:
    """Return all tables."""
    return [
        _finite(numbers.finite),
        _plane(numbers.noise, "noise-and-stopping", "labels redrawn", "epochs"),
        _plane(numbers.width, "width-and-batch", "width", "batch size"),
    ]


def _finite(finite: pd.DataFrame) -> Table:
    columns = {
        "weights": "weights",
        "load": "load",
        "error": "error",
        "standard_error": "± standard error",
        "annealed": "annealed",
        "worst": "worst that fits",
        "bound": "bound",
        "beyond": "beyond it",
        "alone": "teacher alone",
        "samples": "samples",
    }
    return Table(
        name="finite-perceptrons",
        title="All Ising students of a few weights, counted",
        frame=finite[list(columns)].rename(columns=columns),
        formats={
            "load": ".2f",
            **dict.fromkeys(["error", "annealed", "worst that fits", "bound"], ".3f"),
            "± standard error": ".3f",
            **dict.fromkeys(["beyond it", "teacher alone"], ".0%"),
        },
        caption="Error of a student drawn from those that make no mistake, mean over samples; the "
        "annealed average for the same number of weights; the largest error of a student that "
        "fits, mean over samples, the union bound at probability 0.05, and the share of samples "
        "that go beyond it; share of samples in which the teacher alone fits.",
    )


_COLUMNS = {
    "train_error": "train error",
    "test_error": "test error",
    "top_eigenvalue": "largest eigenvalue",
    "trace": "trace",
    "connectivity": "connectivity",
    "straight": "on the straight line",
    "cka": "CKA",
}


def _plane(plane: PhasePlane, name: str, load: str, temperature: str) -> Table:
    lines = [
        {
            load: level,
            temperature: heat,
            "examples per weight": float(rows["examples_per_weight"].iloc[0]),
            **{title: Measured.of(rows[column]) for column, title in _COLUMNS.items()},
        }
        for (level, heat), rows in plane.frame.groupby(["load", "temperature"], sort=True)
    ]
    columns = [load, temperature, "examples per weight", *_COLUMNS.values()]
    return Table(
        name=name,
        title=f"A network over {load} and {temperature}",
        frame=pd.DataFrame(lines, columns=columns),
        formats={
            load: ".0%" if plane.load == "label_noise" else ".0f",
            temperature: ".0f",
            "examples per weight": ".3g",
            **dict.fromkeys(["train error", "test error"], ".1%"),
            **dict.fromkeys([*_COLUMNS.values()][2:], ".3g"),
        },
        caption="Mean over pairs of networks ± standard deviation. Examples per weight: "
        "those with a true label. Hessian of the mean training loss; connectivity of the training "
        "loss, in nats, below 0 a barrier; on the straight line: without training the curve.",
    )


def charts(numbers: Numbers) -> list[Chart]:
    """Return the figures for which there are numbers."""
    found = [_curves(numbers), _boundary(numbers.boundary)]
    for plane in (numbers.noise, numbers.width):
        if plane.frame["test_error"].notna().any():
            found += plane.charts()
    return found


def _curves(numbers: Numbers) -> Chart:
    finite = numbers.finite.assign(
        curve=[f"{weights} weights, counted" for weights in numbers.finite["weights"]]
    )
    frame = pd.concat([numbers.annealed, finite[["curve", "load", "error"]]], ignore_index=True)
    order = [ISING, STUCK, CONTINUOUS, CROSSING, *dict.fromkeys(finite["curve"])]
    return curves(
        frame,
        x=_LOAD,
        y=Axis("error", title="Error (%)", percent=True, domain=(0, 0.8)),
        group="curve",
        groups=order,
        band=None,
        name="learning-curves",
        title="Learning curves of perceptrons with a teacher of their kind",
        caption="At temperature 0. Annealed: in the limit of many weights. Counted: means over "
        "samples, standard errors in the table.",
    )


def _boundary(boundary: pd.DataFrame) -> Chart:
    return curves(
        boundary,
        x=Axis("temperature", title="Temperature (mistakes)"),
        y=_LOAD,
        group="line",
        band=None,
        name="phase-diagram",
        title="Phases of annealed Ising students",
        caption="Above the transition the teacher alone outweighs all others; between it and the "
        "spinodal a learner may stay at the old error; below the transition none has found the "
        "teacher.",
    )
