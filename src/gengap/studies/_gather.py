"""From the trials of a study to frames: one row a trial, and all histories."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast, final

import pandas as pd

from gengap._errors import StoreError
from gengap.auditing import FITTED
from gengap.lab import Lab, Progress, Trial

NOT_RUN = "not run"
ENDED = ("fitted", "stopped", "diverged")
_NUMBERS = (
    *("epoch", "step", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "seconds"),
)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """A trial and its place in a study.

    Attributes:
        trial: What is run.
        place: Columns that name its place in tables and figures, such as {"labels": "true"}.
    """

    trial: Trial
    place: Mapping[str, object]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Gathered:
    """What came out of the trials of a study.

    Attributes:
        ends: One row an entry: its place, trial, seed, status, reason, the numbers of the last
            evaluation, steps_to_fit (the first evaluation with a train accuracy of at least
            99 %, infinite where a run ended before), best_test_accuracy (the best so far at the
            end). What is not there is NaN, with a status that says why: "not run", "unfinished",
            "failed" or "damaged".
        history: The histories, with the same columns in front.
        seconds: Time that training took, summed over groups of trials; each computes with one
            thread on a CPU.
    """

    ends: pd.DataFrame = field(repr=False)
    history: pd.DataFrame = field(repr=False)
    seconds: float

    @property
    def ended(self) -> int:
        """How many different trials have ended, well or not."""
        return int(self.ends[self.ends["status"].isin(ENDED)]["trial"].nunique())

    @property
    def asked(self) -> int:
        """How many different trials there are."""
        return int(self.ends["trial"].nunique())


def gather(
    lab: Lab,
    entries: Sequence[Entry],
    *,
    train: bool = True,
    progress: Callable[[Progress], None] | None = None,
) -> Gathered:
    """Run the trials that are not complete and return what came out of all.

    Args:
        lab: Where trials are run and kept.
        entries: Trials with their places; two places may share a trial.
        train: Whether to run anything; without, only what is complete is told.
        progress: Called a few times a second with how far a group of trials is.

    Raises:
        StoreError: The store cannot be read or written.
    """
    trials = list({entry.trial.id: entry.trial for entry in entries}.values())
    if train:
        lab.run(trials, progress=progress)
    found = {trial.id: _told(lab, trial) for trial in trials}
    return _gathered(entries, found, seconds=_seconds(lab, found))


def steps_to_fit(history: pd.DataFrame) -> float:
    """Return the step of the first evaluation that fits; infinite where there is none."""
    fitted = history[history["train_accuracy"] >= FITTED]
    return float(fitted["step"].iloc[0]) if len(fitted) else math.inf


_Told = tuple[dict[str, Any], pd.DataFrame]


def _told(lab: Lab, trial: Trial) -> _Told:
    """Return the row and the history of a trial, whatever state it is in."""
    files, name = lab.store.files, f"trials/{trial.id}"
    try:
        if lab.store.is_complete(trial.id):
            result = lab.store.result(trial.id)
            history = lab.store.history(trial.id)
            row = {key: _number(result["final"].get(key)) for key in _NUMBERS}
            row |= {"status": result["status"], "reason": result["reason"]}
            row["steps_to_fit"] = steps_to_fit(history)
            row["best_test_accuracy"] = float(history["test_accuracy"].max())
            return row, history
        if files.exists(f"{name}/failure.json"):
            reason = files.read_json(f"{name}/failure.json")["reason"]
            return {"status": "failed", "reason": str(reason)}, pd.DataFrame()
    except (StoreError, KeyError, TypeError) as error:
        return {"status": "damaged", "reason": str(error)}, pd.DataFrame()
    if files.exists(f"{name}/trial.json"):
        return {"status": "unfinished", "reason": "No result stands yet."}, pd.DataFrame()
    return {"status": NOT_RUN, "reason": "It was not started."}, pd.DataFrame()


def _gathered(entries: Sequence[Entry], found: Mapping[str, _Told], *, seconds: float) -> Gathered:
    rows, histories = [], []
    for entry in entries:
        row, history = found[entry.trial.id]
        place = {**entry.place, "trial": entry.trial.id, "seed": entry.trial.seed}
        rows.append({**place, **row})
        if len(history):
            histories.append(history.assign(**cast("Any", place)))
    columns = [*dict.fromkeys(key for entry in entries for key in entry.place), "trial", "seed"]
    columns += ["status", "reason", *_NUMBERS, "steps_to_fit", "best_test_accuracy"]
    empty = pd.DataFrame(columns=[*columns[: columns.index("status")], *_NUMBERS])
    return Gathered(
        ends=pd.DataFrame(rows, columns=columns),
        history=pd.concat(histories, ignore_index=True) if histories else empty,
        seconds=seconds,
    )


def _seconds(lab: Lab, found: Mapping[str, _Told]) -> float:
    """Sum over groups: what trained together took the time of the one that ended last."""
    longest: dict[str, float] = {}
    for trial, (row, _) in found.items():
        if row["status"] in ENDED:
            group = str(lab.store.result(trial).get("group", trial))
            longest[group] = max(longest.get(group, 0.0), row["seconds"])
    return sum(longest.values())


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def runs_text(statuses: Iterable[str]) -> str:
    """Return how the runs of a row ended, such as "2 fitted, 1 diverged"."""
    kept = list(statuses)
    return ", ".join(f"{kept.count(name)} {name}" for name in dict.fromkeys(kept))
