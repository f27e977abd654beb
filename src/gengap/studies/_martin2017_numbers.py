"""Load and temperature in the solvable model and in a network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

import pandas as pd
import torch

from gengap.auditing import PhasePlane, phase_plane
from gengap.capacity import (
    IsingTransition,
    consistent_bound,
    ising_transition,
    learning_curve,
    rightmost_crossing,
    teacher_student,
)
from gengap.lab import Data, Lab, Measurement, Progress, Trial

from ._martin2017_settings import (
    CURVE,
    LOADS,
    PROBABILITY,
    PRODUCTS,
    TEMPERATURES,
    Settings,
    network,
)

Report = Callable[[Progress], None] | None


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Numbers:
    """What was computed and measured.

    Attributes:
        transition: Of Ising students at temperature 0.
        products: Load to error times load of continuous students.
        annealed: One row a load and curve: error of the annealed curves and the crossing.
        boundary: One row a temperature and line: load of transition and spinodal.
        finite: One row a number of weights and load: what counting all students found.
        noise: Label noise against stopping time.
        width: Width against batch size.
    """

    transition: IsingTransition
    products: dict[float, float]
    annealed: pd.DataFrame = field(repr=False)
    boundary: pd.DataFrame = field(repr=False)
    finite: pd.DataFrame = field(repr=False)
    noise: PhasePlane
    width: PhasePlane


def measure(
    lab: Lab,
    settings: Settings,
    seeds: Sequence[int],
    *,
    train: bool,
    progress: Report,
) -> Numbers:
    """Train what is not there, measure it, and solve the model."""
    data = Data.named(
        settings.data, examples=settings.examples, test_examples=settings.test_examples
    )
    how: dict[str, Any] = {
        "seeds": seeds, "steps": settings.steps, "lab": lab, "run": train, "progress": progress
    }  # fmt: skip
    noise = phase_plane(
        network(settings.hidden),
        data,
        label_noise=settings.noise,
        epochs=settings.epochs,
        recipe=settings.recipe,
        **how,
    )
    width = phase_plane(
        network,
        data,
        width=settings.width,
        batch_size=settings.batch_size,
        recipe=replace(settings.recipe, epochs=settings.long),
        **how,
    )
    return Numbers(
        transition=ising_transition(),
        products=_products(),
        annealed=_annealed(),
        boundary=_boundary(),
        finite=_finite(lab, settings, noise.trials[0], train=train, progress=progress),
        noise=noise,
        width=width,
    )


def _products() -> dict[float, float]:
    loads = list(PRODUCTS)
    errors = learning_curve(loads, students="continuous").errors.tolist()
    return {load: load * error for load, error in zip(loads, errors, strict=True)}


ISING, STUCK = "Ising, annealed", "Ising, second maximum"
CONTINUOUS, CROSSING = "continuous, annealed", "bound (rightmost crossing)"


def _annealed() -> pd.DataFrame:
    ising = learning_curve(CURVE)
    columns = {
        ISING: ising.errors,
        STUCK: torch.where(ising.metastable > 0, ising.metastable, torch.nan),
        CONTINUOUS: learning_curve(CURVE, students="continuous").errors,
        CROSSING: rightmost_crossing(CURVE),
    }
    parts = [
        pd.DataFrame({"curve": name, "load": CURVE, "error": errors.tolist()})
        for name, errors in columns.items()
    ]
    return pd.concat(parts, ignore_index=True)


def _boundary() -> pd.DataFrame:
    rows = []
    for temperature in TEMPERATURES:
        found = ising_transition(temperature=temperature)
        for line, load in (("transition", found.load), ("spinodal", found.spinodal)):
            rows.append({"line": line, "temperature": temperature, "load": load})
    return pd.DataFrame(rows)


def _finite(
    lab: Lab, settings: Settings, keeper: Trial, *, train: bool, progress: Report
) -> pd.DataFrame:
    """Count all students of finite perceptrons, and keep it beside the first trial."""

    def asked(weights: int, samples: int) -> Measurement:
        def compute() -> dict[str, Any]:
            result = teacher_student(LOADS, weights=weights, samples=samples)
            bound = consistent_bound(LOADS, weights=weights, probability=PROBABILITY)
            beyond = (result.worst > bound + 1e-12).double().mean(0)
            found = result.frame().assign(bound=bound.numpy(), beyond=beyond.numpy())
            found = found.drop_duplicates("examples")
            return {str(column): found[column].tolist() for column in found}

        options = {
            "weights": weights, "samples": samples, "loads": LOADS, "probability": PROBABILITY
        }  # fmt: skip
        return Measurement(trial=keeper, name="teacher-student", options=options, compute=compute)

    plan = [asked(weights, samples) for weights, samples in settings.samples.items()]
    kept = lab.measure(plan, compute=train, progress=progress)
    frames = [
        pd.DataFrame(values).assign(weights=weights, samples=samples)
        for values, (weights, samples) in zip(kept, settings.samples.items(), strict=True)
        if values is not None
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=_FINITE)


_FINITE = [
    *("load", "examples", "error", "standard_error", "worst", "alone", "annealed", "bound"),
    *("beyond", "weights", "samples"),
]
