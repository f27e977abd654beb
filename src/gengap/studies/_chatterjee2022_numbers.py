"""Numbers of Chatterjee and Zielinski (2022), and the example of six weights."""

import math
from collections.abc import Sequence

import pandas as pd

from gengap.gradients import coherence, six_weights

from ._chatterjee2022_trials import Scale, same_examples
from ._gather import ENDED, Entry

EARLY_STEPS = 25
"""Steps that count as early, as in the paper."""

START_STEPS = 5
"""Steps at which random labels count as not yet fitted."""


def phases(ends: pd.DataFrame, probed: pd.DataFrame) -> pd.DataFrame:
    """Return how m-coherence goes over a run, one row a run of part "coherence" that ended.

    Columns: `start`, before training; `early`, the mean over measurements of steps 1 to 25;
    `at_first`, that over steps 0 to 5; `peak`, the highest after step 25 and `peak_step`; `last`,
    at the end; and the accuracies there. Five measurements in a row are averaged for the peak, as
    far as there are.
    """
    rows = []
    own = ends[(ends["part"] == "coherence") & ends["status"].isin(ENDED)]
    for run in own.to_dict("records"):
        part = probed[(probed["trial"] == run["trial"]) & (probed["group"] == "all")]
        part = part.drop_duplicates("step").sort_values("step").set_index("step")["m_coherence"]
        if not len(part):
            continue
        early = part[(part.index >= 1) & (part.index <= EARLY_STEPS)]
        after = part[part.index > EARLY_STEPS].rolling(5, center=True, min_periods=1).mean()
        rows.append({
            "network": run["network"],
            "labels": run["labels"],
            "seed": run["seed"],
            "start": float(part.iloc[0]),
            "early": float(early.mean()),
            "at_first": float(part[part.index <= START_STEPS].mean()),
            "peak": float(after.max()) if len(after) else math.nan,
            "peak_step": float(after.idxmax()) if len(after) else math.nan,
            "last": float(part.iloc[-1]),
            "train_accuracy": float(run["train_accuracy"]),
            "test_accuracy": float(run["test_accuracy"]),
        })
    return pd.DataFrame(rows, columns=PHASES)


PHASES = [
    *("network", "labels", "seed", "start", "early", "at_first", "peak", "peak_step", "last"),
    *("train_accuracy", "test_accuracy"),
]


def stopping(ends: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    """Return what stopping at the best test accuracy keeps, one row a run of part "stopping"."""
    rows = []
    own = ends[(ends["part"] == "stopping") & ends["status"].isin(ENDED)]
    for trial in own["trial"]:
        part = history[(history["trial"] == trial) & (history["part"] == "stopping")]
        best, end = part.loc[part["test_accuracy"].idxmax()], part.iloc[-1]
        rows.append({
            "seed": int(end["seed"]),
            "epoch": float(best["epoch"]),
            "epochs": float(end["epoch"]),
            "best": float(best["test_accuracy"]),
            "end": float(end["test_accuracy"]),
            "clean_at_best": float(best["clean_accuracy"]),
            "corrupted_at_best": float(best["corrupted_accuracy"]),
            "corrupted_at_end": float(end["corrupted_accuracy"]),
        })
    names = ("clean_at_best", "corrupted_at_best", "corrupted_at_end")
    return pd.DataFrame(rows, columns=["seed", "epoch", "epochs", "best", "end", *names])


def agreements(found: Sequence[tuple[Entry, pd.DataFrame]], scale: Scale) -> pd.DataFrame:
    """Return how well two runs agree on which examples are learned early.

    One row a pair of runs that learned the same examples from the same kind of labels: the
    networks, the labels, whether it is one network with two seeds or two networks, and
    Spearman's rank correlation of the time at which an example was learned for good; what never
    was comes last. With random labels, which differ between seeds, only runs of one seed pair.
    """
    places = {name: i for i, names in enumerate(same_examples(scale)) for name in names}
    runs = [(e, _learned(frame)) for e, frame in found if e.place["part"] == "coherence"]
    rows = []
    for i, (one, times) in enumerate(runs):
        for other, others in runs[i + 1 :]:
            a, b = one.place, other.place
            if places[str(a["network"])] != places[str(b["network"])] or a["labels"] != b["labels"]:
                continue
            if len(times) != len(others):
                continue
            seeds = one.trial.seed == other.trial.seed
            if a["labels"] != "true" and not seeds:
                continue
            rows.append({
                "first": a["network"],
                "second": b["network"],
                "labels": a["labels"],
                "kind": "two seeds" if a["network"] == b["network"] else "two networks",
                "seed": one.trial.seed,
                "correlation": float(times.corr(others, method="spearman")),
            })
    columns = ["first", "second", "labels", "kind", "seed", "correlation"]
    return pd.DataFrame(rows, columns=columns)


def _learned(frame: pd.DataFrame) -> pd.Series:
    rows = frame.sort_values("example").reset_index(drop=True)["last_learned"]
    return rows.fillna(math.inf).rank()


def six_weight_runs(steps: int = 200, lr: float = 0.8) -> pd.DataFrame:
    """Return gradient descent on the example of six weights, with and without what is common.

    Columns: `labels` ("real" or "random"), `step`, `alpha`, `m_coherence`, `train_loss`,
    `test_loss`, `common` (the weight that all examples share) and `own` (the mean of the other
    four that train). Exact arithmetic would end at the closed forms of `six_weights`.
    """
    rows = []
    for labels, common in (("real", True), ("random", False)):
        train, test = six_weights(4, common=common)
        weight = train.params["weight"]
        measured = coherence(train, standard_errors=False)
        for step in range(steps + 1):
            rows.append({
                "labels": labels,
                "step": step,
                "alpha": math.nan if step else measured.alpha,
                "m_coherence": math.nan if step else measured.m_coherence,
                "train_loss": train(),
                "test_loss": test(),
                "common": float(weight[0, 5]),
                "own": float(weight[0, :4].mean()),
            })
            weight -= lr * train.gradient()["weight"]
    return pd.DataFrame(rows)
