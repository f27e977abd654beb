"""Made-up runs of every trial of a scale, as the rules of the claims want to see them."""

import pandas as pd

from gengap.studies._zhang2017_trials import ROWS
from gengap.studies.zhang2017 import entries

LEVEL = {"true labels": 0.0, "random labels": 1.0}
STEPS = {"shuffled pixels": 150.0, "random pixels": 160.0, "gaussian": 170.0}


def ends(scale, seeds=(0, 1, 2)):
    """Return one row a trial with which every claim is supported."""
    rows = [{**entry.place, "seed": entry.trial.seed} for entry in entries(scale, seeds)]
    return pd.DataFrame([{**row, **_row(row), "status": "fitted", "reason": ""} for row in rows])


def _row(place):
    if place["part"] == "figure":
        level = place["level"]
        steps = STEPS.get(place["data_set"], 100.0 + 150.0 * (level or 0.0))
        test = 0.5 if level is None else 0.9 - 0.8 * level
        return numbers(train=1.0, test=test, steps=steps)
    row = ROWS[place["row"]]
    train = 0.1 if row.train is None else row.train / 100
    return numbers(train=train, test=0.1 if row.test is None else row.test / 100, steps=100.0)


def numbers(*, train, test, steps):
    return {
        "train_accuracy": train,
        "test_accuracy": test,
        "best_test_accuracy": test,
        "steps_to_fit": steps,
    }


def changed(frame, column, value, *, seeds=None, **where):
    """Return a copy with a column set, or shifted by a function, in the rows that match."""
    frame = frame.copy()
    match = pd.Series(data=True, index=frame.index)
    for name, wanted in where.items():
        match &= frame[name] == wanted
    if seeds is not None:
        match &= frame["seed"].isin(seeds)
    assert match.any(), where
    frame.loc[match, column] = value(frame.loc[match, column]) if callable(value) else value
    return frame
