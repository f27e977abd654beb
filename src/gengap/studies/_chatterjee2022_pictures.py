"""The tables and figures of Chatterjee and Zielinski (2022)."""

from collections.abc import Sequence

import pandas as pd

from gengap.report import Axis, Chart, Measured, Table, curves

from ._chatterjee2022_claims import SIX, six_weight_values
from ._chatterjee2022_trials import LABELS
from ._gather import runs_text
from ._read_paths import file_name


def tables(
    ends: pd.DataFrame,
    phases: pd.DataFrame,
    stopping: pd.DataFrame,
    agreements: pd.DataFrame,
    six: pd.DataFrame,
) -> list[Table]:
    """Return all tables, from the numbers of the study."""
    return [
        _six_table(six),
        _phase_table(ends, phases),
        _stopping_table(stopping),
        _agreement_table(agreements),
    ]


def _six_table(six: pd.DataFrame) -> Table:
    found = six_weight_values(six)
    said = {
        "alpha": "α at the start",
        "m_coherence": "m-coherence at the start",
        "common": "common weight at the end",
        "own": "other weights at the end",
        "test_loss": "test loss at the end",
    }
    lines = [
        {
            "labels": labels,
            "what": text,
            "paper": SIX[labels][name],
            "ours": found[labels][name],
            "difference": found[labels][name] - SIX[labels][name],
        }
        for labels in SIX
        for name, text in said.items()
    ]
    return Table(
        name="six-weights",
        title="The example of six weights",
        frame=pd.DataFrame(lines),
        formats={"paper": ".4g", "ours": ".6g", "difference": "+.1e"},
        caption="Gradient descent in float64 from zero, 200 steps of 0.8 on the mean loss. Real: "
        "the four training examples share a feature; random: they do not. The m-coherence and the "
        "weights are ours: they follow from the paper's definition and data.",
    )


def _phase_table(ends: pd.DataFrame, phases: pd.DataFrame) -> Table:
    lines = []
    own = ends[ends["part"] == "coherence"]
    for (network, labels), runs in own.groupby(["network", "labels"], sort=False):
        part = phases[(phases["network"] == network) & (phases["labels"] == labels)]
        columns = {
            "before": "start",
            "steps 1 to 25": "early",
            "peak": "peak",
            "at step": "peak_step",
            "last": "last",
        }
        lines.append({
            "network": network,
            "labels": labels,
            **{name: Measured.of(part[column]) for name, column in columns.items()},
            "train accuracy": Measured.of(100 * part["train_accuracy"]),
            "test accuracy": Measured.of(100 * part["test_accuracy"]),
            "runs": runs_text(runs["status"]),
        })
    numbers = dict.fromkeys(("before", "steps 1 to 25", "peak", "last"), ".1f")
    percents = dict.fromkeys(("train accuracy", "test accuracy"), ".1f")
    return Table(
        name="m-coherence",
        title="m-coherence over training",
        frame=pd.DataFrame(lines),
        formats={**numbers, **percents, "at step": ".0f"},
        caption="Mean over seeds ± standard deviation; of a fixed sample of the training examples, "
        "1 where their gradients are orthogonal. Peak: the highest after step 25, in the mean of "
        "five measurements. Accuracies in percent, at the end. The paper gives curves.",
    )


def _stopping_table(stopping: pd.DataFrame) -> Table:
    columns = {
        "best test accuracy": "best",
        "last test accuracy": "end",
        "pristine fitted at best": "clean_at_best",
        "corrupted fitted at best": "corrupted_at_best",
        "corrupted fitted at end": "corrupted_at_end",
    }
    line = {
        "epoch of the best": Measured.of(stopping["epoch"]),
        "epochs": Measured.of(stopping["epochs"]),
        **{name: Measured.of(100 * stopping[column]) for name, column in columns.items()},
    }
    return Table(
        name="stopping",
        title="Early stopping, half of the labels redrawn",
        frame=pd.DataFrame([line] if len(stopping) else [], columns=list(line)),
        formats={**dict.fromkeys(columns, ".1f"), "epoch of the best": ".1f", "epochs": ".0f"},
        caption="Percent; mean over seeds ± standard deviation. The best is chosen on the test "
        "half itself.",
    )


def _agreement_table(agreements: pd.DataFrame) -> Table:
    lines = []
    keys = ["kind", "first", "second", "labels"]
    for (kind, first, second, labels), part in agreements.groupby(keys, sort=False):
        lines.append({
            "runs": kind,
            "first": first,
            "second": second,
            "labels": labels,
            "pairs": len(part),
            "rank correlation": Measured.of(part["correlation"]),
        })
    frame = pd.DataFrame(lines, columns=["runs", "first", "second", "labels", "pairs", CORRELATION])
    return Table(
        name="agreement",
        title="Which examples are learned early: how well two runs agree",
        frame=frame.sort_values(["labels", "runs"], ascending=False, kind="stable"),
        formats={CORRELATION: ".2f"},
        caption="Spearman's rank correlation, over the training examples, of the epoch since when "
        "an example has been right; mean over pairs ± standard deviation. On random labels only "
        "runs with the same labels are compared, so there are no pairs of seeds.",
    )


CORRELATION = "rank correlation"


def charts(probed: pd.DataFrame, history: pd.DataFrame, names: Sequence[str]) -> list[Chart]:
    """Return the figures for which there are runs."""
    own = probed[(probed["part"] == "coherence") & (probed["group"] == "all")]
    own = own[own["step"] > 0]
    drawn = [_m_coherence(own[own["network"] == name], name) for name in names]
    return [chart for chart in [*drawn, *_stopped(probed, history)] if chart is not None]


def _m_coherence(part: pd.DataFrame, name: str) -> Chart | None:
    if not len(part):
        return None
    file = file_name(name)
    return curves(
        part,
        x=Axis("step", title="Steps", log=True),
        y=Axis("m_coherence", title="m-coherence", log=True),
        group="labels",
        groups=list(LABELS),
        unit="seed",
        name=f"m-coherence-{file}",
        title=f"m-coherence of {name} while it trains",
        caption="Mean and range over seeds, on a fixed sample of the training examples. A run that "
        "ends before its curve keeps its last value.",
        rules={"orthogonal": 1.0},
    )


def _stopped(probed: pd.DataFrame, history: pd.DataFrame) -> list[Chart]:
    own = history[history["part"] == "stopping"] if len(history) else history
    part = probed[(probed["part"] == "stopping") & (probed["step"] > 0)]
    if not len(own) or not len(part):
        return []
    columns = {
        "pristine labels": "clean_accuracy",
        "corrupted labels": "corrupted_accuracy",
        "test half": "test_accuracy",
    }
    frame = pd.concat([
        own.assign(accuracy=own[column], what=name) for name, column in columns.items()
    ])
    names = {"clean": "pristine labels", "corrupted": "corrupted labels"}
    part = part[part["group"].isin(names)]
    return [
        curves(
            frame,
            x=Axis("epoch", title="Epochs"),
            y=Axis("accuracy", title="Accuracy", percent=True),
            group="what",
            groups=list(columns),
            unit="seed",
            name="stopping",
            title="Accuracy of pristine and corrupted examples in training",
            caption="Half of the labels redrawn; mean and range over seeds.",
        ),
        curves(
            part.assign(what=part["group"].map(names)),
            x=Axis("step", title="Steps", log=True),
            y=Axis("m_coherence", title="m-coherence within the group", log=True),
            group="what",
            groups=list(columns),
            unit="seed",
            name="stopping-coherence",
            title="m-coherence of pristine and corrupted examples",
            caption="Half of the labels redrawn; mean and range over seeds. The groups are "
            "of about equal size.",
            rules={"orthogonal": 1.0},
        ),
    ]
