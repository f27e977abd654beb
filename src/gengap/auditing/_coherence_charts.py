"""The audit's charts of coherence and of learning times."""

from collections.abc import Sequence

import pandas as pd

from gengap.report import Axis, Chart, curves

from ._coherence import whole
from ._plan import AS_GIVEN, TRUE

_STEPS = Axis("step", title="Steps", log=True)
_ALONE = {"no help": 1.0}
_SPACING = 1.08
_MOST_LAYERS = 8
_KEPT = "Mean and range over seeds; a run that ends before its curve keeps its last value."

COHERENCE_LEAD = (
    "m-coherence is how many training examples a small step along one example's gradient helps, "
    "itself among them: 1 where the gradients have nothing in common, and the size of the sample "
    "where all are alike. It is measured on a fixed sample, in evaluation mode, after each of the "
    "first 10 steps and then at growing distances. While a network first learns what all "
    "examples have in common, such as how frequent the classes are, it is high on any labels. "
    "An example counts as learned from the first evaluated epoch at which the network gives its "
    "label, changed or not."
)


def coherence_charts(
    found: pd.DataFrame, history: pd.DataFrame, names: Sequence[str]
) -> list[Chart]:
    """Return the charts: every data set, then the clean and the corrupted examples apart.

    Args:
        found: What `coherence` returned.
        history: The histories, with columns of learning times.
        names: All data sets in their order.
    """
    if not len(found):
        return []
    given = _spaced(found[found["variant"] == AS_GIVEN])
    own = history[history["variant"] == AS_GIVEN]
    overview = [
        curves(
            whole(given),
            x=_STEPS,
            y=Axis("m_coherence", title="m-coherence", log=True),
            group="data_set",
            groups=names,
            unit="seed",
            rules=_ALONE,
            name="coherence",
            title="m-coherence",
            caption=f"{_size(whole(given))} {_KEPT}",
        )
    ]
    learned = _learned(own, names)
    return [
        *overview,
        *learned[:1],
        *_forgotten(own, names),
        *_groups_apart(given, names),
        *learned[1:],
    ]


def _spaced(rows: pd.DataFrame) -> pd.DataFrame:
    """Return measurements that can be told apart on a logarithmic axis, the same in all charts."""
    kept: list[int] = []
    for step in sorted(set(rows["step"])):
        if not kept or step >= _SPACING * kept[-1]:
            kept.append(step)
    return rows[rows["step"].isin(kept)]


def _size(rows: pd.DataFrame) -> str:
    low, high = int(rows["examples"].min()), int(rows["examples"].max())
    count = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return f"Of {count} training examples."


def _groups_apart(given: pd.DataFrame, names: Sequence[str]) -> list[Chart]:
    """Return one chart of the clean and one of the corrupted examples, on the same axes."""
    rows = given[given["level"].notna()]
    clean, corrupted = whole(rows, "clean"), whole(rows, "corrupted")
    both = clean["trial"].isin(corrupted["trial"])
    clean = clean[both]
    values = pd.concat([clean, corrupted])["m_coherence"]
    positive = values[values > 0]
    if not (len(clean) and len(positive)):
        return []
    axis = Axis(
        "m_coherence",
        title="m-coherence",
        log=True,
        domain=(float(positive.min()), float(positive.max())),
    )
    return [
        curves(
            part,
            x=_STEPS,
            y=axis,
            group="data_set",
            groups=names,
            unit="seed",
            rules=_ALONE,
            name=f"coherence-{which}",
            title=f"m-coherence of the {which} examples",
            caption=f"{_size(part)} The more there are, the higher it can rise.",
        )
        for part, which in ((clean, "clean"), (corrupted, "corrupted"))
    ]


def layer_charts(found: pd.DataFrame) -> list[Chart]:
    """Return a chart of the layers of the network on true labels, where it has several."""
    if not len(found):
        return []
    given = _spaced(found[found["variant"] == AS_GIVEN])
    rows = given[(given["data_set"] == TRUE) & (given["group"] == "all") & (given["layer"] != "")]
    layers = list(dict.fromkeys(rows["layer"]))
    ends = _MOST_LAYERS // 2
    shown = layers if len(layers) <= _MOST_LAYERS else [*layers[:ends], *layers[-ends:]]
    rows = rows[rows["layer"].isin(shown)]
    if len(layers) < 2 or not (rows["m_coherence"] > 0).any():
        return []
    left_out = f" The first and last {ends} of {len(layers)}." if shown != layers else ""
    return [
        curves(
            rows,
            x=_STEPS,
            y=Axis("m_coherence", title="m-coherence", log=True),
            group="layer",
            groups=shown,
            unit="seed",
            rules=_ALONE,
            name="coherence-layers",
            title="m-coherence of each layer's gradients",
            caption=f"{_size(rows)}{left_out} {_KEPT}",
        )
    ]


def _forgotten(history: pd.DataFrame, names: Sequence[str]) -> list[Chart]:
    """Return how many examples were forgotten between two evaluations."""
    rows = history[(history["epoch"] > 0) & history["forgetting_events"].notna()]
    if not len(rows):
        return []
    return [
        curves(
            rows,
            x=Axis("epoch", title="Epochs", log=True),
            y=Axis("forgetting_events", title="Forgetting events"),
            group="data_set",
            groups=names,
            unit="seed",
            name="forgotten",
            title="Examples forgotten",
            caption="Training examples that were right at the evaluation before, and are not any "
            "more.",
        )
    ]


def _learned(history: pd.DataFrame, names: Sequence[str]) -> list[Chart]:
    """Return how many examples have been learned by which epoch: all, clean, corrupted."""
    began = history[history["epoch"] > 0]
    levels = began[began["level"].notna() & began["learned_corrupted"].notna()]
    parts = [
        ("learned", "Examples learned", began),
        ("learned_clean", "Clean examples learned", levels),
        ("learned_corrupted", "Corrupted examples learned", levels),
    ]
    return [
        curves(
            rows,
            x=Axis("epoch", title="Epochs", log=True),
            y=Axis(column, title=title, percent=True, domain=(0, 1)),
            group="data_set",
            groups=names,
            unit="seed",
            name=column.replace("_", "-"),
            title=title,
            caption="Share that has been right at an evaluated epoch so far, by its training "
            "label.",
        )
        for column, title, rows in parts
        if len(rows)
    ]
