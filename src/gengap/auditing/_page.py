"""The report of an audit."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch

from gengap.data import Split
from gengap.report import (
    Axis,
    Chart,
    Claim,
    Command,
    Gallery,
    KeyNumbers,
    Measured,
    Report,
    Section,
    Specification,
    Table,
    curves,
    dots,
    versions,
)

from ._coherence_charts import COHERENCE_LEAD, coherence_charts, layer_charts
from ._plan import AS_GIVEN, RANDOM, TRUE, DataSet, parts_of
from ._results import FORMATS, summary
from ._twin_page import TWIN_LEAD, twin_chart

_EXAMPLES = 8
_MOST_PIXELS = 128 * 128


def make_report(
    *,
    model: str,
    data: str,
    results: pd.DataFrame,
    history: pd.DataFrame,
    coherence: pd.DataFrame,
    claims: Sequence[Claim],
    data_sets: Sequence[DataSet],
    train: Split,
    specification: Mapping[str, Any],
    command: Sequence[str],
) -> Report:
    """Compose the page: numbers, claims, table, linked curves, examples, specification."""
    given = results[results["variant"] == AS_GIVEN]
    names = list(dict.fromkeys(given["data_set"]))
    sections = [
        Section(title="What the numbers say", items=[_key_numbers(given), *claims]),
        Section(title="Table", items=[result_table(results)]),
        Section(
            title="Curves",
            lead="Choose a data set to follow it through every chart.",
            items=charts(results, history),
        ),
        Section(
            title="Coherence and learning times",
            lead=COHERENCE_LEAD,
            items=coherence_charts(coherence, history, names),
        ),
        Section(
            title="Layers",
            lead="On true labels, by the layers' names in the network.",
            items=layer_charts(coherence),
        ),
        Section(title="Kernel twin", lead=TWIN_LEAD, items=twin_chart(results)),
        Section(title="Examples", items=_gallery(data_sets, train, names)),
        Section(title="Specification", items=_specification(results, specification, command)),
    ]
    parts = parts_of(train)
    noise = ", but not on noise, which is no token" if train.tokens else ", and on noise"
    return Report(
        title=f"Audit of {model} on {data}",
        lead="Does it memorize, how much, and at what price? One network and one recipe on true, "
        f"partly corrupted and random labels, on shuffled and random {parts}{noise}; "
        f"{given['seed'].nunique()} seeds each.",
        sections=[section for section in sections if section.items],
    )


def _key_numbers(given: pd.DataFrame) -> KeyNumbers:
    def value(name: str, column: str, code: str = ".1%") -> str:
        return format(Measured.of(given[given["data_set"] == name][column]), code)

    return KeyNumbers(
        numbers=[
            (value(TRUE, "test_accuracy"), "test accuracy on true labels"),
            (value(RANDOM, "train_accuracy"), "of random training labels fitted"),
            (value(RANDOM, "test_accuracy"), "test accuracy after random labels"),
            (value(RANDOM, "relative_time", ".1f") + " ×", "the steps of true labels"),
        ]
    )


def result_table(results: pd.DataFrame) -> Table:
    """Return the audit's table."""
    frame = summary(results)
    formats = {name: code for name, code in FORMATS.items() if name in frame}
    twin = "kernel test" in frame
    return Table(
        name="audit",
        frame=frame,
        formats=formats,
        group="data set",
        caption="Accuracies on the train and test halves, means over seeds ± standard deviation. "
        "Gap: train minus test. Epochs: until the train accuracy is first at least 99 %. × true: "
        "the same in steps, relative to true labels. Test labels are true everywhere; changed "
        "inputs are changed in the test half too."
        + (" Kernel: a Gaussian kernel's accuracies, and its norm." if twin else ""),
    )


def charts(results: pd.DataFrame, history: pd.DataFrame) -> list[Chart]:
    """Return the audit's charts: figures 1 a, b, c of the paper, and two more."""
    given = results[results["variant"] == AS_GIVEN]
    own = history[history["variant"] == AS_GIVEN] if len(history) else history
    look: dict[str, Any] = {"group": "data_set", "groups": list(dict.fromkeys(given["data_set"]))}
    levels = given[given["level"].notna()].assign(test_error=1 - given["test_accuracy"])
    found = [_test_error(levels, look)]
    if levels["relative_time"].notna().any():
        found.insert(0, _time_to_fit(levels, look))
    if not len(own):
        return found
    found = [_train_loss(own, look), *found, _test_accuracy(own, look)]
    corrupted = own[own["corrupted_accuracy"].notna() & own["level"].notna()]
    return [*found, _memorized(corrupted, look)] if len(corrupted) else found


_STEPS = Axis("step", title="Steps")
_LEVEL = Axis("level", title="Probability with which a label is redrawn", percent=True)


def _train_loss(history: pd.DataFrame, look: dict[str, Any]) -> Chart:
    return curves(
        history,
        x=_STEPS,
        y=Axis("train_loss", title="Train loss (nats)"),
        unit="seed",
        name="train-loss",
        title="Train loss",
        caption="Mean and range over seeds; a run that ends before its curve keeps its last value.",
        **look,
    )


def _time_to_fit(levels: pd.DataFrame, look: dict[str, Any]) -> Chart:
    return dots(
        levels,
        x=_LEVEL,
        y=Axis("relative_time", title="Steps to fit, true labels = 1"),
        connect="all",
        name="time-to-fit",
        title="Time to fit against corruption",
        **look,
    )


def _test_error(levels: pd.DataFrame, look: dict[str, Any]) -> Chart:
    return dots(
        levels,
        x=_LEVEL,
        y=Axis("test_error", title="Test error", percent=True, domain=(0, 1)),
        connect="all",
        name="test-error",
        title="Test error against corruption",
        **look,
    )


def _test_accuracy(history: pd.DataFrame, look: dict[str, Any]) -> Chart:
    return curves(
        history,
        x=_STEPS,
        y=Axis("test_accuracy", title="Test accuracy", percent=True, domain=(0, 1)),
        unit="seed",
        name="test-accuracy",
        title="Test accuracy",
        **look,
    )


def _memorized(history: pd.DataFrame, look: dict[str, Any]) -> Chart:
    title = "Corrupted labels fitted"
    return curves(
        history,
        x=_STEPS,
        y=Axis("corrupted_accuracy", title=title, percent=True, domain=(0, 1)),
        unit="seed",
        name="memorized",
        title=title,
        caption="Share of the training examples with a changed label whose changed label the "
        "network gives.",
        **look,
    )


def _gallery(sets: Sequence[DataSet], train: Split, names: Sequence[str]) -> list[Gallery]:
    """Show the same few training examples in every data set."""
    if not torch.is_tensor(train.inputs) or train.inputs.shape[1:].numel() > _MOST_PIXELS:
        return []  # what is streamed or large would be corrupted whole to show a few examples
    some = _shown(sets, train)
    rows = []
    for chosen in sets:
        changed = train if chosen.corruption is None else chosen.corruption(train, seed=0)
        split = changed[some]
        raw = split.preprocessing.cropped(split.gather(torch.arange(len(split)))).cpu()
        if raw.ndim not in (2, 4):
            return []
        if not raw.is_floating_point() and split.preprocessing.scale not in (1, 255):
            raw = raw.float() / split.preprocessing.scale
        rows.append((chosen.name, raw.numpy(), _captions(split)))
    caption = "The same training examples, seed 0. A changed label is shown after its true one."
    return [
        Gallery(name="examples", rows=[row for row in rows if row[0] in names], caption=caption)
    ]


def _shown(sets: Sequence[DataSet], train: Split) -> list[int]:
    """Return which examples to show: half of them changed at the lowest level, if there is one."""
    lowest = next((one.corruption for one in sets if one.level and one.corruption), None)
    changed = train.changed if lowest is None else lowest(train, seed=0).changed
    order = [*changed.nonzero().flatten()[: _EXAMPLES // 2].tolist(), *range(_EXAMPLES)]
    return sorted([k for k in dict.fromkeys(order) if k < len(train)][:_EXAMPLES])


def _captions(split: Split) -> list[str]:
    def name(label: int) -> str:
        return split.class_names[label] if split.class_names else str(label)

    pairs = zip(split.true_targets.tolist(), split.targets.tolist(), strict=True)
    return [name(a) if a == b else f"{name(a)} → {name(b)}" for a, b in pairs]


def _specification(
    results: pd.DataFrame, specification: Mapping[str, Any], command: Sequence[str]
) -> list[Any]:
    items: list[Any] = [Command(line=command)] if command else []
    items.append(Specification(title="What was run", content=specification))
    failed = results[results["status"].isin(["failed", "diverged", "damaged"])]
    if len(failed):
        columns = ["data_set", "variant", "seed", "status", "reason"]
        title = "Trials that did not end well"
        items.append(Table(name="not-run", frame=failed[columns], title=title))
    items.append(Specification(title="Versions", content=versions()))
    return items
