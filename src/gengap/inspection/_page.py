"""The page of ranked labels: pictures, tables, charts."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from gengap.data import Split
from gengap.memorization import HELD_OUT_SCORES, SCORES
from gengap.report import (
    Command,
    KeyNumbers,
    Measured,
    Report,
    Section,
    Specification,
    Table,
    versions,
)

from ._charts import finding_charts, score_charts
from ._pictures import by_label, most_suspicious


def make_report(
    *,
    ranking: pd.DataFrame,
    evaluation: pd.DataFrame | None,
    trials: pd.DataFrame,
    history: pd.DataFrame,
    split: Split,
    by: str,
    top: int,
    model: str,
    data: str,
    specification: Mapping[str, Any],
    command: Sequence[str],
) -> Report:
    """Compose the page: the most suspicious labels first, then how far to trust the ranking."""
    found = [] if evaluation is None else [evaluation_table(evaluation, meanings=meaning(ranking))]
    finding = [] if evaluation is None else finding_charts(ranking, evaluation)
    pictures = most_suspicious(ranking, split, top=top)
    table = suspicious_table(ranking, by=by, top=top)
    sections = [
        Section(
            title="Most suspicious labels",
            items=[_key_numbers(ranking, evaluation, by), *pictures, table],
        ),
        Section(title="How well changed labels are found", items=[*found, *finding]),
        Section(
            title="Scores",
            lead="All scores are higher for what is more suspicious. A ranking is worth most where "
            "a score parts a small group from the rest.",
            items=score_charts(ranking, history, by=by),
        ),
        Section(title="By given label", items=by_label(ranking, split)),
        Section(title="Specification", items=_specification(trials, specification, command)),
    ]
    return Report(
        title=f"Labels of {data}",
        lead=f"Which of {len(ranking):,} labels are likely wrong? "
        f"{_how(ranking, model, len(trials))} A suspicion is no proof: look at the example.",
        sections=[section for section in sections if section.items],
    )


def is_held_out(ranking: pd.DataFrame) -> bool:
    """Return whether labels are ranked by a classifier's held-out probabilities."""
    return "learning_time" not in ranking


def meaning(ranking: pd.DataFrame) -> dict[str, str]:
    """Return what each score of a ranking is."""
    return HELD_OUT_SCORES if is_held_out(ranking) else SCORES


def _how(ranking: pd.DataFrame, model: str, runs: int) -> str:
    if is_held_out(ranking):
        return (
            f"{model} was fitted without one fold of the examples after the other, "
            f"{_times(runs)}; what it gives little probability, unseen, comes first."
        )
    return (
        f"{model} was trained {_times(runs)} on the labels as they are; what it learns late, with "
        "small margins or not at all, comes first."
    )


def suspicious_table(ranking: pd.DataFrame, *, by: str, top: int) -> Table:
    """Return the table of the most suspicious examples."""
    known = [name for name in ("true",) if name in ranking]
    files = ["file"] if "file" in ranking else []
    columns = ["rank", "example", *files, "given", "suggested", *known]
    shown = ranking.loc[: top - 1, [*columns, "confidence", "suggested_confidence", by]]
    score = by.replace("_", " ")
    counted = bool((shown[by] % 1 == 0).all())  # epochs or times, not a number with decimals
    shown = shown.rename(columns={"suggested_confidence": "in suggested", by: score})
    for name in ("given", "suggested", *known):
        shown[name] = shown[name].astype(str)
    return Table(
        name="most-suspicious",
        frame=shown,
        formats={"example": "d", "confidence": ".0%", "in suggested": ".0%"}
        | ({} if counted else {score: ".3f"}),
        caption="Example: its row in the data set, from 0. Confidence: probability of the given "
        f"label, {'held out' if is_held_out(ranking) else 'mean over training'}; in suggested: "
        "that of the suggested one. "
        f"{score.capitalize()}: {meaning(ranking)[by]}. All examples: labels.csv.",
    )


def evaluation_table(
    evaluation: pd.DataFrame, *, meanings: Mapping[str, str] | None = None
) -> Table:
    """Return the table of how well each score finds what is known to be changed."""

    def measured(name: str) -> list[Measured]:
        pairs = zip(evaluation[name], evaluation[f"{name}_error"], strict=True)
        return [Measured(mean=value, spread=error) for value, error in pairs]

    frame = pd.DataFrame({
        "score": evaluation["score"].str.replace("_", " "),
        "average precision": measured("average_precision"),
        "AUROC": measured("auroc"),
        "precision": evaluation["precision"],
    })
    if meanings is not None:
        frame["what it is"] = evaluation["score"].map(dict(meanings))
    return Table(
        name="evaluation",
        frame=frame,
        formats={"average precision": ".3f", "AUROC": ".4f", "precision": ".1%"},
        group="score",
        caption="How well each score finds the labels that are known to be changed, ± standard "
        "error over the draw of the examples. Precision: among as many of the highest as there are "
        "changed labels.",
    )


def _key_numbers(ranking: pd.DataFrame, evaluation: pd.DataFrame | None, by: str) -> KeyNumbers:
    n = len(ranking)
    doubted = int((ranking["negative_margin"] > 0).sum())
    when = "unseen" if is_held_out(ranking) else "over training"
    numbers = [
        (f"{n:,}", "labels ranked"),
        (f"{doubted / n:.1%}", f"where another label was preferred {when} ({doubted:,})"),
    ]
    if evaluation is not None:
        own = evaluation.set_index("score").loc[by]
        changed = ranking["changed"]
        count = int(changed.sum())
        right = (ranking["suggested"] == ranking["true"])[changed].mean()
        numbers += [
            (f"{own['average_precision']:.3f}", f"average precision, {count:,} changed labels"),
            (f"{own['precision']:.1%}", f"of the first {count:,} are changed"),
            (f"{right:.1%}", "of the changed have their true label suggested"),
        ]
    return KeyNumbers(numbers=numbers)


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _specification(
    trials: pd.DataFrame, specification: Mapping[str, Any], command: Sequence[str]
) -> list[Any]:
    items: list[Any] = [Command(line=command)] if command else []
    runs = trials.dropna(axis=1, how="all")
    shares = {str(name): ".1%" for name in runs if str(name).endswith("accuracy")}
    items.append(Table(name="runs", frame=runs, formats=shares))
    items.append(Specification(title="What was run", content=specification))
    items.append(Specification(title="Versions", content=versions()))
    return items
