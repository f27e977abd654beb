"""The tables and figures of Zielinski et al. (2020)."""

import math
from typing import Any

import pandas as pd

from gengap.report import Axis, Chart, Measured, Table, curves, dots

from ._gather import ENDED, runs_text
from ._zielinski2020_numbers import updates
from ._zielinski2020_trials import GROUPS, RULES


def tables(runs: pd.DataFrame, groups: pd.DataFrame) -> list[Table]:
    """Return all tables, from `delays` and `groups`."""
    return [_rule_table(runs), _group_table(groups)]


def _rule_table(runs: pd.DataFrame) -> Table:
    lines = []
    for (setting, rule), part in runs.groupby(["setting", "rule"], sort=False):
        ended = part[part["status"].isin(ENDED)]
        shares = {
            "corrupted fitted": "fitted",
            "pristine fitted": "pristine",
            "best test": "best_test_accuracy",
            "test": "test_accuracy",
            "test at half": "level",
        }
        lines.append({
            "batch, noise": str(setting).removeprefix("batch "),
            "rule": rule,
            "updates": Measured.of(ended["updates"].astype(float)),
            **{
                name: Measured.of(100 * ended[column].astype(float))
                for name, column in shares.items()
            },
            "half fitted at": Measured.of(ended["half"].astype(float)),
            "delay": Measured.of(ended["delay"].astype(float)),
            "runs": runs_text(part["status"]),
        })
    percents = ("corrupted fitted", "pristine fitted", "best test", "test", "test at half")
    return Table(
        name="rules",
        title="Five rules at equally many updates, labels redrawn",
        frame=pd.DataFrame(lines),
        formats={
            **dict.fromkeys(percents, ".1f"),
            "updates": _whole,
            "half fitted at": _whole,
            "delay": _ratio,
        },
        caption="Percent; mean over seeds ± standard deviation. Best test: the best test accuracy "
        "on the way, which is what early stopping could keep. Half fitted at: updates until half "
        "of the corrupted labels are fitted; delay: that over SGD's of the same seed; test at "
        "half: the test accuracy at that point, equal memorization for every rule; all three over "
        "the seeds that get there. The paper's "
        "numbers are of ImageNet and given as curves.",
        group="rule",
    )


def _whole(value: Any) -> str:
    return f"{value.mean:,.0f}" if math.isfinite(value.mean) else "never"


def _ratio(value: Any) -> str:
    return f"{value:.2f}" if math.isfinite(value.mean) else "–"


def _group_table(groups: pd.DataFrame) -> Table:
    lines = []
    for (source, trained), part in groups.groupby(["source", "trained"], sort=False):
        own = part[part["tested"] == trained]
        tested = {
            f"on held-out {name}": Measured.of(100 * part.loc[part["tested"] == name, "accuracy"])
            for name in GROUPS
        }
        lines.append({
            "data": source,
            "trained on": trained,
            "examples": Measured.of(own["examples"].astype(float)),
            "train accuracy": Measured.of(100 * own["train_accuracy"]),
            **tested,
            "early α": Measured.of(own["early_alpha"]),
            "early m-coherence": Measured.of(own["early_m_coherence"]),
        })
    frame = pd.DataFrame(lines)
    codes = {"examples": ",.0f", "early α": ".3f", "early m-coherence": ".1f"}
    return Table(
        name="groups",
        title="Easy and hard examples, generalizing to themselves and to each other",
        frame=frame,
        formats={c: codes.get(c, ".1f") for c in frame.columns if c not in ("data", "trained on")},
        caption="Percent; mean over seeds ± standard deviation. Easy: right after one epoch. Both "
        "groups have equally many examples of each class, a sixth of them held out. Early: over "
        "steps 1 to 25, on a sample of the group.",
    )


def charts(history: pd.DataFrame, groups: pd.DataFrame) -> list[Chart]:
    """Return the figures for which there are runs."""
    drawn: list[Chart] = []
    own = history[history["part"] == "rules"] if len(history) else history
    if len(own):
        own = own.assign(updates=updates(own))
        for setting, part in own.groupby("setting", sort=False):
            drawn.append(_memorized(part, str(setting)))
        drawn.append(_traded(own))
    if len(groups):
        drawn.append(_generalize(groups))
    return drawn


def _memorized(part: pd.DataFrame, setting: str) -> Chart:
    return curves(
        part,
        x=Axis("updates", title="Updates"),
        y=Axis("corrupted_accuracy", title="Corrupted labels fitted", percent=True, domain=(0, 1)),
        group="rule",
        groups=list(RULES),
        unit="seed",
        name="memorized-" + setting.replace(", ", "-").replace(" ", "-"),
        title=f"Corrupted labels fitted ({setting})",
        caption="Mean and range over seeds, at equally many updates; M3 and the mean of three see "
        "three times as many examples for each.",
    )


def _traded(history: pd.DataFrame) -> Chart:
    setting = str(history["setting"].iloc[-1])
    part = history[(history["setting"] == setting) & (history["updates"] > 0)]
    mean = part.groupby(["rule", "epoch"], sort=False).mean(numeric_only=True).reset_index()
    return dots(
        mean,
        x=Axis("corrupted_accuracy", title="Corrupted labels fitted", percent=True),
        y=Axis("test_accuracy", title="Test accuracy", percent=True),
        group="rule",
        groups=list(RULES),
        connect="group",
        error=None,
        name="traded",
        title=f"Test accuracy at equal memorization ({setting})",
        caption="Every evaluation on the way, means over seeds. Curves on top of each other: a "
        "rule that only delays. A curve above: a rule that learns more for what it memorizes.",
    )


def _generalize(groups: pd.DataFrame) -> Chart:
    pairs = groups.assign(
        pair=groups["trained"] + " → " + groups["tested"],
    )
    return dots(
        pairs,
        x=Axis("pair", title="Trained on → tested on"),
        y=Axis("accuracy", title="Accuracy on held-out examples", percent=True),
        group="source",
        name="easy-and-hard",
        title="Easy and hard examples, generalizing to themselves and to each other",
        caption="Equally many examples of each class in both groups; mean and range over seeds.",
        rules={"chance": 0.1},
    )
