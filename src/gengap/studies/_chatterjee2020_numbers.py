"""Numbers of Chatterjee (2020) from histories: overfit, speed, and who has the gradient."""

import math
from typing import cast

import pandas as pd

from ._chatterjee2020_trials import CLASSES, SOME_DIGITS, allowance, proper_accuracy

EARLY_STEPS = 25
"""Steps that count as early."""

FITTED = 0.99
"""The train accuracy at which memorizing ends: the gradient that is left is small and noisy."""


def overfit(train: pd.Series, test: pd.Series, noise: pd.Series) -> pd.Series:
    r"""Return the paper's metric $ta - [\epsilon/10 + (1 - \epsilon) va]$.

    What a network that is right on a share $va$ of the true labels would reach on the noisy
    training labels is taken from what it does reach.
    """
    return train - (noise / CLASSES + (1 - noise) * test)


def with_overfit(
    ends: pd.DataFrame, history: pd.DataFrame, examples: int, *, part: str = SOME_DIGITS
) -> pd.DataFrame:
    """Return one row a run of SGD and winsorized SGD in a part, with the study's own numbers.

    Columns added: overfit at the end; highest_train, the highest train accuracy on the way;
    proper, the proper accuracy, and allowance, what the draw of the labels may add to it; lost,
    how far the test accuracy has fallen from its best.
    """
    rows = ends[ends["part"] == part].copy()
    highest = {} if not len(history) else history.groupby("trial")["train_accuracy"].max().to_dict()
    numbers = rows[["train_accuracy", "test_accuracy", "noise"]].astype(float)
    rows["overfit"] = overfit(*(numbers[column] for column in numbers))
    rows["highest_train"] = rows["trial"].map(highest).astype(float)
    rows["proper"] = numbers["noise"].map(proper_accuracy)
    rows["allowance"] = numbers["noise"].map(lambda noise: allowance(noise, examples))
    rows["lost"] = rows["best_test_accuracy"].astype(float) - numbers["test_accuracy"]
    return rows


def speeds(history: pd.DataFrame) -> pd.DataFrame:
    """Return how the curves of pristine and corrupt examples lie to those of 0 and 100 % noise.

    One row a seed and noise level between. `pristine_to_0` is the mean over epochs of the
    distance between the accuracy on pristine examples and the train accuracy without noise of the
    same seed; `pristine_to_100`, `corrupt_to_0` and `corrupt_to_100` likewise. A run that has
    ended keeps its last value.
    """
    if not len(history):
        return pd.DataFrame(columns=["seed", "noise"])
    own = history[history["part"] == "shares"]
    rows = []
    for seed, of_seed in own.groupby("seed"):
        levels = of_seed["noise"].astype(float).unique().tolist()
        wide = {n: of_seed[of_seed["noise"] == n].set_index("epoch") for n in levels}
        if not {0.0, 1.0} <= wide.keys():
            continue
        zero, all_noise = (wide[level]["train_accuracy"] for level in (0.0, 1.0))
        for noise, part in wide.items():
            if 0 < noise < 1:
                columns = {"pristine": "clean_accuracy", "corrupt": "corrupted_accuracy"}
                rows.append({
                    "seed": seed,
                    "noise": noise,
                    **{
                        f"{name}_to_{level}": _distance(part[column], other)
                        for name, column in columns.items()
                        for level, other in (("0", zero), ("100", all_noise))
                    },
                })
    return pd.DataFrame(rows)


def _distance(a: pd.Series, b: pd.Series) -> float:
    """Return the mean distance of two curves over the epochs of the longer, from the first."""
    epochs = sorted(set(a.index) | set(b.index))[1:]
    one, other = (curve.reindex(epochs).ffill() for curve in (a, b))
    return float((one - other).abs().mean()) if epochs else math.nan


def null_range(shares: pd.DataFrame, column: str) -> str:
    """Write the lowest and the highest of the null worlds of all runs."""
    lows, highs = zip(*shares[column], strict=True)
    return f"{min(lows):.1%} to {max(highs):.1%}"


def share_numbers(shares: pd.DataFrame, null: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    """Return who has the gradient, from the probes: one row a run with some noise, not all.

    Columns: `pristine`, the pristine examples' part of all examples; `early`, the mean over the
    measurements of steps 1 to 25 of their share of the gradient, and `late`, over those while
    labels are memorized (`memorizing`); `null_early` and `null_late`, the lowest and highest such
    mean of all null worlds; `crosses`, whether early they have more than half of the gradient and
    late less, and `null_crosses`, the part of the null worlds of which this is true; `crossed`,
    the first step at which the corrupt examples have more of the gradient, in the mean of five
    measurements (infinite if there is none).
    """
    rows = []
    own = shares[(shares["part"] == "shares") & shares["noise"].between(0.01, 0.99)]
    for place, part in own.groupby(["noise", "seed"]):
        noise, seed = cast("tuple[float, int]", place)
        clean = part[part["group"] == "clean"].sort_values("step")
        whole = int(part.loc[part["group"] == "all", "examples"].iloc[0])
        of_run = (null["noise"] == noise) & (null["seed"] == seed) & (null["part"] == "shares")
        of_history = history[history["trial"] == clean["trial"].iloc[0]]
        late_steps = memorizing(of_history, noise)
        early, late = _early_and_late(clean.assign(world=0), late_steps)
        null_early, null_late = _early_and_late(null[of_run], late_steps)
        rows.append({
            "seed": seed,
            "noise": noise,
            "pristine": float(clean["examples"].iloc[0]) / whole,
            "early": float(early.mean()),
            "late": float(late.mean()),
            "crosses": bool(_crosses(early, late).any()),
            "crossed": _crossed(clean),
            "null_early": (float(null_early.min()), float(null_early.max())),
            "null_late": (float(null_late.min()), float(null_late.max())),
            "null_crosses": float(_crosses(null_early, null_late).mean()),
        })
    return pd.DataFrame(rows)


def memorizing(history: pd.DataFrame, noise: float) -> tuple[float, float]:
    """Return the first and last step while a run memorizes labels.

    From the first evaluation with a train accuracy above the proper accuracy to the first with
    99 %, or the last; NaN twice where there is none.
    """
    ordered = history.sort_values("step")
    above = ordered[ordered["train_accuracy"] > proper_accuracy(noise)]
    if not len(above):
        return math.nan, math.nan
    fitted = above.loc[above["train_accuracy"] >= FITTED, "step"]
    last = fitted.iloc[0] if len(fitted) else above["step"].iloc[-1]
    return float(above["step"].iloc[0]), float(last)


def _early_and_late(
    shares: pd.DataFrame, late_steps: tuple[float, float]
) -> tuple[pd.Series, pd.Series]:
    """Return every world's mean share early and late."""
    early = shares["step"].between(1, EARLY_STEPS)
    late = shares["step"].between(*late_steps)
    first, last = (shares[when].groupby("world")["share"].mean() for when in (early, late))
    return first, last


def _crosses(early: pd.Series, late: pd.Series) -> pd.Series:
    """Return which worlds' pristine examples have most of the gradient early, and not late."""
    return (early > 0.5) & (late.reindex(early.index) < 0.5)


def _crossed(clean: pd.DataFrame) -> float:
    below = clean.loc[clean["share"].rolling(5).mean() < 0.5, "step"]
    return float(below.iloc[0]) if len(below) else math.inf
