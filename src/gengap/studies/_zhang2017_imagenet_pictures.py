"""Table 2 and figure 2(a) of Zhang et al. (2017), the paper's numbers beside ours."""

import pandas as pd

from gengap.report import Axis, Chart, Measured, Table, curves

from ._gather import Gathered, runs_text
from ._zhang2017_imagenet_claims import of
from ._zhang2017_imagenet_trials import ROWS, TOP, Row

FINAL = ("train_accuracy", f"train_top{TOP}_accuracy", "test_accuracy", f"test_top{TOP}_accuracy")
HEADINGS = ("train top-1", "train top-5", "test top-1", "test top-5")


def with_top(found: Gathered) -> pd.DataFrame:
    """Return the ends with top-5 accuracies: the last of the history, and the best on the way."""
    ends, history = found.ends.copy(), found.history
    for half in ("train", "test"):
        column = f"{half}_top{TOP}_accuracy"
        known = history.groupby("trial")[column] if column in history else None
        ends[column] = float("nan") if known is None else ends["trial"].map(known.last())
        if half == "test":
            best = float("nan") if known is None else ends["trial"].map(known.max())
            ends[f"best_{column}"] = best
    return ends


def tables(ends: pd.DataFrame) -> list[Table]:
    """Return table 2."""
    lines = [_line(ends, row) for row in ROWS]
    formats = {f"{heading} {whose}": ".2f" for heading in HEADINGS for whose in ("paper", "ours")}
    return [
        Table(
            name="table-2",
            title="Table 2: true and random labels, with and without regularizers",
            frame=pd.DataFrame(lines),
            formats=formats,
            caption="Percent; ours: mean over seeds ± standard deviation. In brackets the best "
            "test accuracy at an evaluated epoch. The paper's numbers are as remembered, but for "
            "those that its text repeats.",
        )
    ]


def _line(ends: pd.DataFrame, row: Row) -> dict[str, object]:
    line: dict[str, object] = {"labels": row.labels, "regularizers": row.regularizers}
    paper = (*row.train, *row.test)
    for place, (heading, column) in enumerate(zip(HEADINGS, FINAL, strict=True)):
        theirs = f"{paper[place]:.2f}"
        ours = f"{Measured.of(100 * of(ends, row, column)):.2f}"
        if heading.startswith("test"):
            if row.best is not None:
                theirs += f" ({row.best[place - 2]:.2f})"
            best = Measured.of(100 * of(ends, row, f"best_{column}"))
            ours += f" ({best:.2f})" if best.count else ""
        line |= {f"{heading} paper": theirs, f"{heading} ours": ours}
    line["runs"] = runs_text(ends[ends["row"] == ROWS.index(row)]["status"])
    return line


def charts(history: pd.DataFrame) -> list[Chart]:
    """Return the curves for which there are runs."""
    if not len(history):
        return []
    found = []
    for labels in ("true", "random"):
        own = history[history["labels"] == labels]
        for half in ("train", "test"):
            if len(own):
                found.append(_accuracies(own, labels, half))
    return found


def _accuracies(history: pd.DataFrame, labels: str, half: str) -> Chart:
    where = "training images" if half == "train" else "validation images"
    return curves(
        history,
        x=Axis("epoch", title="Epochs"),
        y=Axis(f"{half}_accuracy", title=f"{half.capitalize()} accuracy, top-1", percent=True),
        group="regularizers",
        groups=[row.regularizers for row in ROWS if row.labels == labels],
        name=f"{half}-accuracy-{labels}",
        title=f"Accuracy on {where}, {labels} labels",
        caption="Mean and range over seeds.",
    )
