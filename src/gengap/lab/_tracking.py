"""What ends in the store is shown to the trackers that people already look at."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

from gengap._errors import StoreError

from ._index import described
from ._store import Store

if TYPE_CHECKING:
    import pandas as pd

    from ._group import Group, Progress


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Tracked:
    """A complete trial, as a tracker is given it.

    Attributes:
        trial: The trial's id.
        spec: Its specification, as plain data.
        result: Its result: "status", "reason", "final" (name to number, or None), "finished".
        history: Its history, a row an evaluated epoch.
    """

    trial: str
    spec: dict[str, Any] = field(repr=False)
    result: dict[str, Any] = field(repr=False)
    history: "pd.DataFrame" = field(repr=False)

    @cached_property
    def parameters(self) -> dict[str, str | int | float | bool]:
        """The specification as flat cells, named like the columns of `lab.frame()`."""
        cells = described(self.spec).items()
        return {k: float(v) if isinstance(v, float) else v for k, v in cells if v is not None}

    @property
    def name(self) -> str:
        """What a person reads: network, data, corruption, seed."""
        cells = self.parameters
        return f"{cells['model']} on {cells['data']}, {cells['corruption']}, seed {cells['seed']}"

    @property
    def final(self) -> dict[str, float]:
        """The final numbers, those that are there."""
        return {name: v for name, v in self.result["final"].items() if v is not None}

    @property
    def rows(self) -> list[tuple[int, float, dict[str, float]]]:
        """The history: step, time of the clock in seconds, finite numbers; a tuple a row."""
        end = datetime.fromisoformat(self.result["finished"]).timestamp()
        table = self.history.drop(columns="step").astype(float)
        seconds = table["seconds"].fillna(0.0)
        times = end + (seconds - seconds.iloc[-1])
        rows = []
        for place, step in enumerate(self.history["step"]):
            cells = table.iloc[place]
            finite = cells[cells.abs() < float("inf")]
            numbers = {str(name): value for name, value in finite.items()}
            rows.append((int(step), float(times.iloc[place]), numbers))
        return rows


class Tracker(ABC):
    """Shows complete trials to people, elsewhere than in the store.

    It is called in the process that runs the lab, never in a worker's, and by one process at a
    time where the store is a local folder.

    Attributes:
        name: What it is called in errors.
    """

    name: str

    @abstractmethod
    def known(self) -> set[str]:
        """Return the ids of the trials that it shows already, whole."""

    @abstractmethod
    def log(self, trial: Tracked) -> None:
        """Show a trial, unless it is shown; what is left of a try that was cut off is replaced."""


@final
class Watch:
    """Shows trials to trackers as their results stand in the store; each trial once.

    What cannot be shown while trials run is tried again at the end, so that a tracker that is
    down costs no training.
    """

    def __init__(self, store: Store, trackers: Sequence[Tracker], trials: Iterable[str]) -> None:
        """Watch these trials of a store."""
        self.store, self._trackers = store, trackers
        self._asked = list(trials)
        self._members: dict[str, list[str]] = {}
        self._ended: dict[str, int] = {}
        self._known: dict[int, set[str]] = {}

    def reporter(
        self, groups: "Sequence[Group]", progress: "Callable[[Progress], None] | None"
    ) -> "Callable[[Progress], None]":
        """Return what takes the progress of these groups, looks, and passes it on."""
        self._members |= {group.id: [trial.id for trial in group.trials] for group in groups}

        def report(message: "Progress") -> None:
            if progress is not None:
                progress(message)
            if self._trackers and message.finished > self._ended.get(message.group, 0):
                self._ended[message.group] = message.finished
                with contextlib.suppress(StoreError):
                    self._show(self._members.get(message.group, ()))

        return report

    def finish(self) -> None:
        """Show what is not shown yet.

        Raises:
            StoreError: A tracker cannot take it.
        """
        members = (name for group in self._members.values() for name in group)
        self._show([*self._asked, *members], wait=True)

    def _show(self, trials: Iterable[str], *, wait: bool = False) -> None:
        trials = list(dict.fromkeys(trials))
        for place, tracker in enumerate(self._trackers):
            with self.store.claimed(f"track-{tracker.name}", wait=wait) as ours:
                if ours:
                    self._show_in(place, tracker, trials)

    def _show_in(self, place: int, tracker: Tracker, trials: Sequence[str]) -> None:
        with _explained(tracker):
            known = self._known.get(place) or self._known.setdefault(place, tracker.known())
        for name in trials:
            if name in known or not self.store.is_complete(name):
                continue
            trial = Tracked(
                trial=name,
                spec=self.store.spec(name),
                result=self.store.result(name),
                history=self.store.history(name),
            )
            with _explained(tracker):
                tracker.log(trial)
            known.add(name)


@contextlib.contextmanager
def _explained(tracker: Tracker) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise StoreError(
            f"The tracker {tracker.name!r} cannot show trials: {type(error).__name__}: {reason}. "
            "They are safe in the store; run again to show them."
        ) from error
