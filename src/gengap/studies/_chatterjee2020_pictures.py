"""The tables and figures of Chatterjee (2020)."""

import math
from dataclasses import replace
from typing import Any, cast

import pandas as pd

from gengap.report import Axis, Chart, Measured, Table, curves, dots

from ._chatterjee2020_numbers import FITTED, null_range
from ._chatterjee2020_trials import ALL_DIGITS, CLIPS, HALF, SOME_DIGITS, WORLDS, proper_accuracy
from ._gather import ENDED, runs_text

OURS = {"noise": ".0%"}
RULES = [f"c = {clip}" if clip else "SGD" for clip in CLIPS]


def tables(
    rows: pd.DataFrame,
    all_digits: pd.DataFrame,
    ends: pd.DataFrame,
    speeds: pd.DataFrame,
    shares: pd.DataFrame,
) -> list[Table]:
    """Return all tables: `with_overfit` of both parts, the ends, `speeds` and `share_numbers`."""
    on_all = [_winsorized_table(all_digits)] if len(all_digits) else []
    return [
        _winsorized_table(rows),
        *(replace(t, name="all-digits", title=f"{t.title}, all digits") for t in on_all),
        _share_table(shares, ends),
        _speed_table(speeds),
    ]


def _winsorized_table(rows: pd.DataFrame) -> Table:
    lines = []
    for place, part in rows.groupby(["noise", "clip"]):
        noise, clip = cast("tuple[float, int]", place)
        ended = part[part["status"].isin(ENDED)]
        found = {
            column: Measured.of(100 * ended[column].astype(float))
            for column in (
                *("train_accuracy", "highest_train", "best_test_accuracy", "test_accuracy"),
                "overfit",
            )
        }
        lines.append({
            "noise": noise,
            "c": clip,
            "proper accuracy": 100 * proper_accuracy(noise),
            "train accuracy": found["train_accuracy"],
            "highest": found["highest_train"],
            "best test accuracy": found["best_test_accuracy"],
            "test accuracy": found["test_accuracy"],
            "overfit": found["overfit"],
            "runs": runs_text(part["status"]),
        })
    columns = ("train accuracy", "highest", "best test accuracy", "test accuracy", "overfit")
    return Table(
        name="winsorized",
        title="Winsorized SGD at each noise level",
        frame=pd.DataFrame(lines),
        formats={**OURS, "proper accuracy": ".1f", **dict.fromkeys(columns, ".2f")},
        caption="Percent, and points of overfit; mean over seeds ± standard deviation. c = 0 is "
        "SGD. Highest: the highest train accuracy of all epochs. The proper accuracy is that of "
        "who predicts every true label. Overfit: train accuracy less what the test accuracy "
        "would give on the noisy labels. The paper gives these numbers as curves only.",
    )


def _share_table(shares: pd.DataFrame, ends: pd.DataFrame) -> Table:
    lines: list[dict[str, Any]] = []
    own = ends[(ends["part"] == "shares") & ends["noise"].between(0.01, 0.99)]
    for noise, runs in own.groupby("noise"):
        part = shares[shares["noise"] == noise] if len(shares) else shares
        line: dict[str, Any] = {"noise": noise, "pristine": math.nan}
        for name, column in (
            ("pristine", "pristine"),
            ("early share", "early"),
            ("late share", "late"),
            ("null, early", "null_early"),
            ("null, late", "null_late"),
            ("crosses at step", "crossed"),
            ("null worlds that cross", "null_crosses"),
        ):
            if column in ("null_early", "null_late"):
                line[name] = null_range(part, column) if len(part) else math.nan
            else:
                scale = 1 if column == "crossed" else 100
                line[name] = Measured.of(scale * part[column]) if len(part) else math.nan
        lines.append({**line, "runs": runs_text(runs["status"])})
    return Table(
        name="shares",
        title="Figure 2 in numbers: the pristine examples' share of the gradient",
        frame=pd.DataFrame(lines),
        formats={
            **OURS,
            "pristine": ".1f",
            "early share": ".1f",
            "late share": ".1f",
            "crosses at step": _step,
            "null worlds that cross": ".1f",
        }
        if lines
        else {},
        caption="Percent. Pristine: their part of all examples. Early: over steps 1 to 25; late: "
        f"while the train accuracy goes from the proper accuracy to {FITTED:.0%}. Null: the range "
        f"of that share over {WORLDS} worlds a seed, in each of which the designations pristine "
        "and corrupt are dealt anew. Crosses: the first step at which the corrupt examples have "
        "more than half, in the mean of five measurements. A null world crosses where its share is "
        "above a half early and below it late. The paper reads about 70 % at the start and a "
        "crossing from its figure.",
    )


def _step(value: Any) -> str:
    return f"{value:.0f}" if math.isfinite(value.mean) else "never"


def _speed_table(speeds: pd.DataFrame) -> Table:
    lines = []
    for noise, part in speeds.groupby("noise") if len(speeds) else ():
        line: dict[str, Any] = {"noise": noise}
        for column in ("pristine_to_0", "pristine_to_100", "corrupt_to_0", "corrupt_to_100"):
            name = column.replace("_to_", ": to ") + " %"
            line[name] = Measured.of(100 * part[column])
        lines.append(line)
    frame = pd.DataFrame(lines)
    return Table(
        name="speed",
        title="Figure 1 in numbers: whose speed pristine and corrupt examples have",
        frame=frame,
        formats={c: ".0%" if c == "noise" else ".1f" for c in frame.columns},
        caption="Mean distance over epochs, in points of accuracy, from the train accuracy of the "
        "same seed at 0 % and at 100 % noise; mean over seeds ± standard deviation.",
    )


def charts(
    rows: pd.DataFrame, history: pd.DataFrame, shares: pd.DataFrame, null: pd.DataFrame
) -> list[Chart]:
    """Return the figures for which there are runs."""
    drawn = [
        *(_memorization(history, SOME_DIGITS) if len(history) else []),
        *(_memorization(history, ALL_DIGITS) if len(history) else []),
        _overfit(rows),
        *_shares(shares, null),
        _learning(history) if len(history) else None,
    ]
    return [chart for chart in drawn if chart is not None]


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(rule=[f"c = {clip}" if clip else "SGD" for clip in frame["clip"]])


def _memorization(history: pd.DataFrame, which: str) -> list[Chart]:
    own = history[(history["part"] == which) & (history["noise"] == HALF)]
    if not len(own):
        return []
    own = _named(own)
    name, title = ("-all", ", all digits") if which == ALL_DIGITS else ("", "")
    common: dict[str, Any] = {
        "x": Axis("epoch", title="Epochs"),
        "group": "rule",
        "groups": RULES,
        "unit": "seed",
        "caption": "Half of the labels redrawn; mean and range over seeds. A run that ends before "
        "its curve keeps its last value.",
    }
    return [
        curves(
            own,
            y=Axis("train_accuracy", title="Train accuracy, noisy labels", percent=True),
            name=f"train-accuracy{name}",
            title=f"Train accuracy and the proper accuracy{title}",
            rules={"proper accuracy": proper_accuracy(HALF)},
            **common,
        ),
        curves(
            own,
            y=Axis("test_accuracy", title="Test accuracy, true labels", percent=True),
            name=f"test-accuracy{name}",
            title=f"Test accuracy while labels are fitted{title}",
            **common,
        ),
    ]


def _overfit(rows: pd.DataFrame) -> Chart | None:
    own = _named(rows[rows["status"].isin(ENDED)])
    if not len(own):
        return None
    return dots(
        own,
        x=Axis("noise", title="Probability with which a label is redrawn", percent=True),
        y=Axis("overfit", title="Overfit", percent=True),
        group="rule",
        groups=RULES,
        connect="group",
        name="overfit",
        title="Overfit at the end of training",
        caption="Train accuracy less what the test accuracy would give on the noisy labels; mean "
        "and range over seeds.",
    )


def _shares(shares: pd.DataFrame, worlds: pd.DataFrame) -> list[Chart]:
    own = shares[(shares["group"] == "clean") & shares["noise"].between(0.01, 0.99)]
    drawn = []
    for noise, part in own.groupby("noise"):
        level = cast("float", noise)
        null = worlds[(worlds["noise"] == noise) & (worlds["step"] > 0)]
        null = null.assign(unit=WORLDS * null["seed"] + null["world"], world="null worlds")
        part = part[part["step"] > 0].assign(unit=part["seed"], world="pristine examples")
        both = pd.concat([part, null])
        drawn.append(
            curves(
                both,
                x=Axis("step", title="Steps", log=True),
                y=Axis("share", title="Share of the gradient", percent=True),
                group="world",
                groups=["pristine examples", "null worlds"],
                name=f"shares-{100 * level:.0f}",
                title=f"Who has the gradient, {level:.0%} of labels redrawn",
                caption="Mean and range over seeds of the share of the pristine examples, and the "
                f"range of {WORLDS} null worlds a seed, in which as many examples drawn at random "
                "bear that name. Once the labels are fitted the whole gradient is small, and "
                "shares swing.",
                rules={"half": 0.5},
            )
        )
    return drawn


def _learning(history: pd.DataFrame) -> Chart | None:
    own = history[history["part"] == "shares"]
    half = own[own["noise"] == HALF]
    curves_of = {
        "train, 0 % noise": own[own["noise"] == 0].assign(accuracy=lambda f: f["train_accuracy"]),
        "pristine, 50 % noise": half.assign(accuracy=half["clean_accuracy"]),
        "corrupt, 50 % noise": half.assign(accuracy=half["corrupted_accuracy"]),
        "train, 100 % noise": own[own["noise"] == 1].assign(accuracy=lambda f: f["train_accuracy"]),
    }
    if any(not len(part) for part in curves_of.values()):
        return None
    frame = pd.concat([part.assign(curve=name) for name, part in curves_of.items()])
    return curves(
        frame,
        x=Axis("epoch", title="Epochs"),
        y=Axis("accuracy", title="Accuracy, labels as trained", percent=True),
        group="curve",
        groups=list(curves_of),
        unit="seed",
        name="learning-speed",
        title="How fast pristine and corrupt examples are learned",
        caption="Mean and range over seeds. A run that ends before its curve keeps its last value.",
    )
