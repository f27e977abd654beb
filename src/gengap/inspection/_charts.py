"""Charts of ranked labels: how scores are spread, and how well they find what is known."""

import numpy as np
import pandas as pd

from gengap.memorization import HELD_OUT_SCORES, SCORES
from gengap.report import Axis, Chart, curves

ALL, CLEAN, CHANGED = "all labels", "as they were", "changed"
_BINS, _POINTS = 40, 120
_SHOWN = ("negative_margin", "mean_loss", "misalignment")


def score_charts(ranking: pd.DataFrame, history: pd.DataFrame, *, by: str) -> list[Chart]:
    """Return the distribution of the main scores, and how labels are fitted over training."""
    names = dict.fromkeys([by, *(name for name in _SHOWN if name in ranking)])
    charts = [_distribution(ranking, name) for name in names]
    return charts if history.empty else [*charts, _fitting(history, known="changed" in ranking)]


def finding_charts(ranking: pd.DataFrame, evaluation: pd.DataFrame) -> list[Chart]:
    """Return precision and recall among the first of the ranking by each score."""
    frame = pd.concat(_among_first(ranking, name) for name in evaluation["score"])
    groups = [name.replace("_", " ") for name in evaluation["score"]]
    x = Axis("inspected", title="Labels inspected, most suspicious first")
    precision = curves(
        frame,
        x=x,
        y=Axis("precision", title="Changed among them", percent=True, domain=(0, 1)),
        group="score",
        groups=groups,
        band=None,
        name="precision",
        title="Precision of the first",
    )
    recall = curves(
        frame,
        x=x,
        y=Axis("recall", title="Changed labels found", percent=True, domain=(0, 1)),
        group="score",
        groups=groups,
        band=None,
        name="recall",
        title="Changed labels found",
    )
    return [precision, recall]


def _among_first(ranking: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return precision and recall after growing numbers of labels, up to twice the changed."""
    changed = ranking.sort_values("example")["changed"].to_numpy()
    scores = ranking.sort_values("example")[name].to_numpy()
    found = np.cumsum(changed[np.argsort(-scores, kind="stable")])
    total = int(changed.sum())
    last = min(len(ranking), 2 * total)
    counts = np.unique(np.linspace(max(1, min(10, last)), last, _POINTS).round().astype(int))
    return pd.DataFrame({
        "score": name.replace("_", " "),
        "inspected": counts,
        "precision": found[counts - 1] / counts,
        "recall": found[counts - 1] / total,
    })


def _distribution(ranking: pd.DataFrame, name: str) -> Chart:
    """Return the shares of the labels over the bins of a score, the tails left out."""
    values = ranking[name].to_numpy()
    low, high = np.quantile(values, [0.001, 0.999])
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    parts = {ALL: values}
    if "changed" in ranking:
        changed = ranking["changed"].to_numpy()
        parts = {CLEAN: values[~changed], CHANGED: values[changed]}
    frames = [
        pd.DataFrame({
            "labels": group,
            "score": (edges[1:] + edges[:-1]) / 2,
            "share": np.histogram(part, edges)[0] / max(1, len(part)),
        })
        for group, part in parts.items()
    ]
    words = name.replace("_", " ").capitalize()
    said = (SCORES if "learning_time" in ranking else HELD_OUT_SCORES)[name]
    return curves(
        pd.concat(frames),
        x=Axis("score", title=words),
        y=Axis("share", title="Share of the labels", percent=True),
        group="labels",
        groups=list(parts),
        band=None,
        name=f"spread-of-{name.replace('_', '-')}",
        title=words,
        caption=f"{said[:1].upper()}{said[1:]}; {_BINS} bins.",
    )


def _fitting(history: pd.DataFrame, *, known: bool) -> Chart:
    columns = {CLEAN: "clean_accuracy", CHANGED: "corrupted_accuracy"}
    columns = columns if known else {ALL: "train_accuracy"}
    frames = [
        history[["epoch", "trial"]].assign(labels=group, fitted=history[column])
        for group, column in columns.items()
    ]
    return curves(
        pd.concat(frames),
        x=Axis("epoch", title="Epochs"),
        y=Axis("fitted", title="Given labels that are predicted", percent=True, domain=(0, 1)),
        group="labels",
        groups=list(columns),
        unit="trial",
        name="fitted",
        title="Labels fitted over training",
        caption="Scores are best from the epochs before wrong labels are fitted.",
    )
