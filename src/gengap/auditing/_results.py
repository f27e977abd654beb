"""From the lab's rows to the numbers of an audit."""

import math
from collections.abc import Sequence

import pandas as pd

from gengap.lab import Lab
from gengap.report import Measured
from gengap.training import kept_row

from ._ended import DIVERGED
from ._plan import AS_GIVEN, TRUE, Planned

FITTED = 0.99
"""Train accuracy from which a network counts as having fitted its training examples."""


def results(lab: Lab, planned: Sequence[Planned]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return one row a trial, and the histories with the same columns in front.

    The first has data_set, level, variant, seed, status, reason, accuracies and losses of the
    network that is kept (`gengap.Run.kept`), gap (train minus test accuracy), epochs and steps to
    fit (the first evaluated epoch with a train accuracy of at least 99 %, NaN where there is none)
    and the ratio of the steps to those of the same seed on true labels. A run that diverged has no
    numbers, as it has no trained network. The frame holds no times: a resumed audit gives the same
    bytes.
    """
    frame = lab.frame([p.trial for p in planned])
    histories = []
    rows = []
    for item, (_, row) in zip(planned, frame.iterrows(), strict=True):
        place = {
            "data_set": item.data_set.name,
            "level": item.data_set.level,
            "variant": item.variant,
            "seed": item.trial.seed,
        }
        ended = row["status"] not in ("failed", "damaged", "unfinished")
        history = lab.history([item.trial]) if ended else pd.DataFrame()
        histories.append(history.assign(**place))
        if ended and len(history):
            kept = kept_row(history.to_dict("records"), item.trial.recipe)
            row = pd.Series(row.to_dict() | kept)
        rows.append({"trial": item.trial.id, **place, **_numbers(row, history)})
    table = pd.DataFrame(rows)
    true = table[(table["data_set"] == TRUE) & (table["variant"] == AS_GIVEN)]
    own = true.set_index("seed")["steps_to_fit"]
    table["relative_time"] = table["steps_to_fit"] / table["seed"].map(own)
    return table, _stacked(histories)


def _stacked(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of all, a column's type being that of those which have a value in it."""
    columns = dict.fromkeys(name for frame in frames for name in frame.columns)
    told = [frame.dropna(axis="columns", how="all") for frame in frames]
    return pd.concat(told, ignore_index=True).reindex(columns=list(columns))


def _numbers(row: pd.Series, history: pd.DataFrame) -> dict[str, object]:
    names = (
        "train_accuracy",
        "test_accuracy",
        "clean_accuracy",
        "corrupted_accuracy",
        "train_loss",
        "test_loss",
    )
    diverged = row["status"] == DIVERGED
    numbers = {name: math.nan if diverged else _number(row.get(name)) for name in names}
    fit = _fitted_at(history[:0] if diverged else history)
    return {
        "status": row["status"],
        "reason": row["reason"],
        **numbers,
        "gap": numbers["train_accuracy"] - numbers["test_accuracy"],
        "epochs_to_fit": fit["epoch"],
        "steps_to_fit": fit["step"],
    }


def _number(value: object) -> float:
    known = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if known else math.nan  # type: ignore[arg-type]


def _fitted_at(history: pd.DataFrame) -> dict[str, float]:
    """Return epoch and step of the first evaluation at which the network has fitted."""
    if len(history):
        fitted = history[history["train_accuracy"] >= FITTED]
        if len(fitted):
            return {name: float(fitted.iloc[0][name]) for name in ("epoch", "step")}
    return {"epoch": math.nan, "step": math.nan}


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return one line a data set: means over seeds with their standard deviation."""
    several = table["variant"].nunique() > 1
    lines = []
    for (name, variant), group in table.groupby(["data_set", "variant"], sort=False):
        line: dict[str, object] = {"data set": name}
        if several:
            line["recipe"] = variant
        line |= {
            "train": Measured.of(group["train_accuracy"]),
            "test": Measured.of(group["test_accuracy"]),
            "gap": float(group["gap"].mean()),
            "epochs": Measured.of(group["epochs_to_fit"]),
            "× true": Measured.of(group["relative_time"]),
            "fitted": f"{int((group['train_accuracy'] >= FITTED).sum())}/{len(group)}",
        }
        if "kernel_test" in table:
            line |= {f"kernel {n}": Measured.of(group[f"kernel_{n}"]) for n in _KERNEL}
        lines.append(line)
    return pd.DataFrame(lines)


_KERNEL = ("train", "test", "norm")


FORMATS = {
    "train": ".1%",
    "test": ".1%",
    "gap": ".1%",
    "epochs": ".0f",
    "× true": ".1f",
    "kernel train": ".1%",
    "kernel test": ".1%",
    "kernel norm": ".1f",
}
