"""The tables and figures of Zhang et al. (2017), the paper's numbers beside ours."""

import math
from typing import Any

import pandas as pd

from gengap.report import Axis, Chart, Measured, Table, curves, dots

from ._gather import ENDED, Gathered, runs_text
from ._zhang2017_claims import TEST_POINTS, TRAIN_POINTS, agreement, on_all_of_cifar, parameters
from ._zhang2017_select import of_row, rows_of
from ._zhang2017_trials import DATA_SETS, ROWS, Row, Scale, runs_at

NOT_AT_SCALE = "not run at this scale"


def tables(found: Gathered, scale: Scale) -> list[Table]:
    """Return all tables: every row of the paper's, run or not, and the numbers of the figures."""
    return [
        _table_1(found.ends, scale),
        _table_4(found.ends, scale),
        _figure_table(found.ends),
        _early_stopping_table(found.ends, scale),
        _parameter_table(),
    ]


def _measured(ends: pd.DataFrame, row: Row, column: str) -> Measured:
    return Measured.of(100 * of_row(ends, row, column))


def _outcome(ends: pd.DataFrame, row: Row, scale: Scale) -> str:
    """Return the last cell of a row: the verdict, and how its runs ended."""
    if not runs_at(row, scale):
        return NOT_AT_SCALE
    statuses = ends[ends["row"] == ROWS.index(row)]["status"]
    told = runs_text(statuses)
    return f"{agreement(ends, row, scale)}: {told}" if statuses.isin(ENDED).any() else told


def _regularizers(row: Row) -> str:
    decay = "weight decay" if row.weight_decay else None
    return ", ".join(filter(None, (row.augmentation, decay))) or "none"


def _table_1(ends: pd.DataFrame, scale: Scale) -> Table:
    lines = []
    for row in (row for row in ROWS if row.table == 1):
        train, test = (_measured(ends, row, f"{half}_accuracy") for half in ("train", "test"))
        comparable = on_all_of_cifar(row, scale)
        lines.append({
            "network": row.name,
            "labels": row.labels,
            "regularizers": _regularizers(row),
            "train paper": row.train,
            "train ours": train,
            "train difference": train.mean - (row.train or math.nan),
            "test paper": row.test,
            "test ours": test,
            "test difference": test.mean - (row.test or math.nan) if comparable else math.nan,
            "verdict": _outcome(ends, row, scale),
        })
    return Table(
        name="table-1",
        title="Table 1: accuracies with and without regularizers, on true and random labels",
        frame=pd.DataFrame(lines),
        formats=_two_digits("train", "test"),
        caption="Percent; ours: mean over seeds ± standard deviation. Verdict, by seed, of at "
        f"least two: train accuracy no more than {TRAIN_POINTS} point below the paper's and, for "
        f"networks trained on all of CIFAR-10, test accuracy within {TEST_POINTS} points of it. "
        "Test accuracies are compared for those only.",
    )


def _table_4(ends: pd.DataFrame, scale: Scale) -> Table:
    lines = []
    for row in (row for row in ROWS if row.table == 4):
        train = _measured(ends, row, "train_accuracy")
        lines.append({
            "network": row.name,
            "regularizers": _regularizers(row),
            "train paper": "failed to converge" if row.train is None else f"{row.train:.2f}",
            "train ours": train,
            "train difference": train.mean - (row.train or math.nan),
            "verdict": _outcome(ends, row, scale),
        })
    return Table(
        name="table-4",
        title="Table 4: fitting random labels with regularizers",
        frame=pd.DataFrame(lines),
        formats={"train ours": ".2f", "train difference": "+.2f"},
        caption="Train accuracy in percent; ours: mean over seeds ± standard deviation. Verdict, "
        f"by seed, of at least two: no more than {TRAIN_POINTS} point below the paper's; below "
        "99 % where the paper's run failed to converge.",
    )


def _two_digits(*halves: str) -> dict[str, Any]:
    kinds = {"paper": ".2f", "ours": ".2f", "difference": "+.2f"}
    return {f"{half} {kind}": code for half in halves for kind, code in kinds.items()}


def _figure_table(ends: pd.DataFrame) -> Table:
    figure = ends[ends["part"] == "figure"]
    relative = _relative(ends)
    lines = []
    for (network, name), rows in figure.groupby(["network", "data_set"], sort=False):
        ended = rows[rows["status"].isin(ENDED)]
        times = relative[(relative["network"] == network) & (relative["data_set"] == name)]
        lines.append({
            "network": network,
            "data set": name,
            "train accuracy": Measured.of(100 * ended["train_accuracy"]),
            "test error": Measured.of(100 - 100 * ended["test_accuracy"]),
            "steps to fit": Measured.of(ended["steps_to_fit"]),
            "relative": Measured.of(times["relative"]),
            "runs": runs_text(rows["status"]),
        })
    return Table(
        name="figure-1",
        title="Figure 1 in numbers",
        frame=pd.DataFrame(lines),
        formats={
            "train accuracy": ".2f",
            "test error": ".2f",
            "steps to fit": _steps,
            "relative": ".2f",
        },
        caption="Percent; mean over seeds ± standard deviation. Steps to fit: to the first "
        "evaluation, one an epoch, with a train accuracy of at least 99 %. Relative: over the "
        "steps on true labels of the same seed.",
        group="data set",
    )


def _steps(value: Any) -> str:
    return f"{value:.0f}" if math.isfinite(value.mean) else "never fitted"


def _relative(ends: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of figure 1 that ended, with steps relative to true labels, seed by seed."""
    rows = ends[(ends["part"] == "figure") & ends["status"].isin(ENDED)]
    bare = rows[rows["data_set"] == "true labels"]
    true = bare.set_index(["network", "seed"])["steps_to_fit"].rename("true_steps")
    joined = rows.join(true, on=["network", "seed"])
    ratio = joined["steps_to_fit"] / joined["true_steps"]
    return joined.assign(relative=ratio.where(ratio.map(math.isfinite)))


def _early_stopping_table(ends: pd.DataFrame, scale: Scale) -> Table:
    lines = []
    for row in _bare(scale):
        best = _measured(ends, row, "best_test_accuracy")
        gain = 100 * (of_row(ends, row, "best_test_accuracy") - of_row(ends, row, "test_accuracy"))
        lines.append({
            "network": row.name,
            "best test accuracy": best,
            "last test accuracy": _measured(ends, row, "test_accuracy"),
            "gain of early stopping": Measured.of(gain),
            "runs": runs_text(ends[ends["row"] == ROWS.index(row)]["status"]),
        })
    return Table(
        name="figure-2",
        title="Figure 2 in numbers: what early stopping would gain on true labels",
        frame=pd.DataFrame(lines),
        formats={
            "best test accuracy": ".2f",
            "last test accuracy": ".2f",
            "gain of early stopping": ".2f",
        },
        caption="Percent; mean over seeds ± standard deviation; no regularizers. The best is "
        "chosen on the test half itself, so the gain is an upper bound. The paper finds none for "
        "Inception on CIFAR-10.",
    )


def _parameter_table() -> Table:
    found = parameters()
    frame = pd.DataFrame({
        "network": found["model"],
        "parameters, paper": found["paper"],
        "parameters, ours": found["parameters"],
        "difference": found["parameters"] - found["paper"],
        "per example": found["parameters_per_example"],
    })
    return Table(
        name="parameters",
        title="Parameters, and how many for each training example",
        frame=frame,
        formats={"difference": "d", "per example": ".1f"},
        caption="At 28 x 28 x 3 pixels and 10 classes; per example of the 50,000 of CIFAR-10.",
    )


def _bare(scale: Scale) -> list[Row]:
    return rows_of(scale, labels="true", weight_decay=False, augmentation=None)


def charts(found: Gathered, scale: Scale) -> list[Chart]:
    """Return the figures for which there are runs."""
    ends, history = found.ends, found.history
    if not len(history):
        return []
    figure = history[history["part"] == "figure"]
    drawn = [
        _train_loss(figure[figure["network"] == network], str(network))
        for network in figure["network"].unique()
    ]
    return [chart for chart in [*drawn, *_by_level(ends), *_figure_2(history, scale)] if chart]


def _train_loss(history: pd.DataFrame, network: str) -> Chart | None:
    own = history[history["data_set"].isin(DATA_SETS)]
    if not len(own):
        return None
    return curves(
        own,
        x=Axis("step", title="Steps"),
        y=Axis("train_loss", title="Train loss (nats)"),
        group="data_set",
        groups=list(DATA_SETS),
        unit="seed",
        name=f"figure-1a-{network.lower().replace(' ', '-')}",
        title=f"Figure 1 a: the five data sets, {network}",
        caption="Train loss after each epoch; mean and range over seeds. A run that ends before "
        "its curve keeps its last value.",
    )


def _by_level(ends: pd.DataFrame) -> list[Chart]:
    relative = _relative(ends)
    rows = relative[relative["level"].notna()].assign(
        test_error=lambda frame: 1 - frame["test_accuracy"]
    )
    if not len(rows):
        return []
    common: dict[str, Any] = {
        "x": Axis("level", title="Probability with which a label is redrawn", percent=True),
        "group": "network",
        "groups": list(ends[ends["part"] == "figure"]["network"].unique()),
        "connect": "group",
    }
    drawn = []
    if rows["relative"].notna().any():
        drawn.append(
            dots(
                rows,
                y=Axis("relative", title="Steps to fit, true labels = 1"),
                name="figure-1b",
                title="Figure 1 b: steps to fit against corruption",
                caption="Mean and range over seeds.",
                **common,
            )
        )
    error = dots(
        rows,
        y=Axis("test_error", title="Test error", percent=True, domain=(0, 1)),
        name="figure-1c",
        title="Figure 1 c: test error against corruption",
        caption="Mean and range over seeds; after training; test labels are true.",
        rules={"chance": 0.9},
        **common,
    )
    return [*drawn, error]


def _figure_2(history: pd.DataFrame, scale: Scale) -> list[Chart]:
    rows = _bare(scale)
    places = [ROWS.index(row) for row in rows]
    own = history[history["row"].isin(places)]
    if not len(own):
        return []
    groups = [row.name for row in rows]
    common: dict[str, Any] = {
        "y": Axis("test_accuracy", title="Test accuracy", percent=True),
        "group": "network",
        "groups": groups,
        "unit": "seed",
    }
    drawn = [
        curves(
            own,
            x=Axis("epoch", title="Epochs"),
            name="figure-2a",
            title="Figure 2: test accuracy while training on true labels",
            caption="Mean and range over seeds; no regularizers. Networks trained on all of "
            "CIFAR-10 and on a subset are not comparable with each other.",
            **common,
        )
    ]
    inception = own[own["network"].str.startswith("Inception")]
    if len(inception):
        drawn.append(
            curves(
                inception,
                x=Axis("step", title="Steps"),
                name="figure-2b",
                title="Figure 2 b: Inception with and without BatchNorm",
                caption="True labels, no regularizers; mean and range over seeds.",
                **common,
            )
        )
    return drawn
