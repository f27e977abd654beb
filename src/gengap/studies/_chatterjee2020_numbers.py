"""Numbers of Chatterjee (2020) from histories: overfit, speed, and who has the gradient."""

import math

import pandas as pd

from ._chatterjee2020_trials import CLASSES, Scale, allowance, proper_accuracy

EARLY_STEPS = 25
"""Steps that count as early."""

NULL = ("null_lowest", "null_highest")


def overfit(train: pd.Series, test: pd.Series, noise: pd.Series) -> pd.Series:
    r"""Return the paper's metric $ta - [\epsilon/10 + (1 - \epsilon) va]$.

    What a network that is right on a share $va$ of the true labels would reach on the noisy
    training labels is taken from what it does reach.
    """
    return train - (noise / CLASSES + (1 - noise) * test)


def with_overfit(ends: pd.DataFrame, history: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """Return one row a run of winsorized SGD, with the study's own numbers.

    Columns added: overfit at the end; highest_train, the highest train accuracy on the way;
    proper, the proper accuracy, and allowance, what the draw of the labels may add to it; lost,
    how far the test accuracy has fallen from its best.
    """
    rows = ends[ends["part"] == "winsorized"].copy()
    highest = {} if not len(history) else history.groupby("trial")["train_accuracy"].max().to_dict()
    numbers = rows[["train_accuracy", "test_accuracy", "noise"]].astype(float)
    rows["overfit"] = overfit(*(numbers[column] for column in numbers))
    rows["highest_train"] = rows["trial"].map(highest).astype(float)
    rows["proper"] = numbers["noise"].map(proper_accuracy)
    rows["allowance"] = numbers["noise"].map(lambda noise: allowance(noise, scale))
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


def share_numbers(shares: pd.DataFrame) -> pd.DataFrame:
    """Return who has the gradient, from the probes: one row a run with some noise, not all.

    Columns: `pristine`, the pristine examples' part of all examples; `early`, the mean over the
    measurements of steps 1 to 25 of their share of the gradient, and `late`, over those of the
    last third of the steps; `null_lowest_early` and so on, the same of the range of the null
    worlds; `crossed`, the first step at which the corrupt examples have more of the gradient, in
    the mean of five measurements (infinite if there is none).
    """
    rows = []
    own = shares[(shares["part"] == "shares") & shares["noise"].between(0.01, 0.99)]
    for (noise, seed), part in own.groupby(["noise", "seed"]):
        clean = part[part["group"] == "clean"].sort_values("step")
        whole = int(part.loc[part["group"] == "all", "examples"].iloc[0])
        row = {
            "seed": seed,
            "noise": noise,
            "pristine": float(clean["examples"].iloc[0]) / whole,
            "crossed": _crossed(clean),
        }
        early = clean["step"].between(1, EARLY_STEPS)
        late = clean["step"] > 2 / 3 * clean["step"].max()
        for column, name in (("share", ""), *((c, f"{c}_") for c in NULL)):
            row[f"{name}early"] = float(clean.loc[early, column].mean())
            row[f"{name}late"] = float(clean.loc[late, column].mean())
        rows.append(row)
    return pd.DataFrame(rows)


def _crossed(clean: pd.DataFrame) -> float:
    below = clean.loc[clean["share"].rolling(5).mean() < 0.5, "step"]
    return float(below.iloc[0]) if len(below) else math.inf
