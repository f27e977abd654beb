"""Where trials are run, stored, resumed and queried."""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import pandas as pd
from torch import nn

from gengap._errors import StoreError
from gengap.training import Packing, build_seeded, choose_packing, pick_device

from ._engine import Engine, LocalEngine
from ._group import Group, Progress
from ._index import index
from ._store import Store
from ._trial import Trial

_WAIT_SECONDS = 0.5


class Lab:
    """Where trials are run, stored, resumed and queried.

    A complete trial is never run again. What is killed goes on from its last checkpoint to the
    same result, because the trials that train together are recorded before they start. Several
    processes may run trials in one local store: each takes groups that no other is at.

    Attributes:
        store: The folder of trials.
    """

    def __init__(
        self,
        address: str | os.PathLike[str] = "gengap-runs",
        *,
        engine: Literal["local"] | Engine = "local",
        device: str = "auto",
        lanes: int | None = None,
        workers: int | None = None,
    ) -> None:
        """Open a store, which is made when the first trial is run.

        Args:
            address: A folder, or any address that fsspec knows.
            engine: "local", or an engine.
            device: "auto", "cpu" or "cuda".
            lanes: Most trials trained as one program; None chooses.
            workers: Most processes; None means one a core.
        """
        self.store = Store(address)
        self.device = pick_device(device)
        self._engine = engine
        self._lanes, self._workers = lanes, workers

    def run(
        self,
        trials: Iterable[Trial],
        *,
        progress: Callable[[Progress], None] | None = None,
    ) -> pd.DataFrame:
        """Run the trials that are not complete; return a row for each trial asked for.

        Raises:
            StoreError: The store cannot be written, or a file in it is damaged.
        """
        trials = list({trial.id: trial for trial in trials}.values())
        self._check(trials)
        while groups := self._plan(trials):
            before = len(self._pending(trials))
            self._run(groups, progress or (lambda progress: None))
            pending = self._pending(trials)
            if all(self._failed(trial.id) for trial in pending):
                break
            if len(pending) == before:
                time.sleep(_WAIT_SECONDS)  # another process is at what is left
        return self.frame(trials)

    def _run(self, groups: list[Group], report: Callable[[Progress], None]) -> None:
        engine = self._engine
        if not isinstance(engine, Engine):
            model = build_seeded(groups[0].trials[0].builder(), 0)
            engine = LocalEngine(self._packing(model, groups[0].trials[0]).workers)
        engine.run(self.store, groups, device=self.device, report=report)

    def _check(self, trials: Sequence[Trial]) -> None:
        """Read what is there before anything starts, so that nothing is lost to a damaged file."""
        for trial in trials:
            if self.store.files.exists(f"trials/{trial.id}/trial.json"):
                self.store.begin(trial)
            if self.store.is_complete(trial.id):
                self.store.result(trial.id)
            else:
                self.store.files.remove(f"trials/{trial.id}/failure.json")

    def _pending(self, trials: Sequence[Trial]) -> list[Trial]:
        return [trial for trial in trials if not self.store.is_complete(trial.id)]

    def _failed(self, trial: str) -> bool:
        return self.store.files.exists(f"trials/{trial}/failure.json")

    def _plan(self, trials: Sequence[Trial]) -> list[Group]:
        """Return the groups to train: those recorded by an earlier run first, as they were."""
        by_id = {trial.id: trial for trial in trials}
        pending = {t.id for t in self._pending(trials) if not self._failed(t.id)}
        groups = []
        with self.store.claimed("plan", wait=True):
            for members in self.store.groups().values():
                if pending & set(members) and set(members) <= by_id.keys():
                    groups.append(Group([by_id[member] for member in members]))
                    pending -= set(members)
            for group in self._packed([t for t in trials if t.id in pending]):
                self.store.record_group(group.id, [trial.id for trial in group.trials])
                groups.append(group)
        return groups

    def _packed(self, trials: Sequence[Trial]) -> list[Group]:
        """Pack trials that can share a program, in the order given, into groups of even size."""
        alike: dict[str, list[Trial]] = {}
        for trial in trials:
            alike.setdefault(trial.lane_key, []).append(trial)
        groups = []
        for members in alike.values():
            model = build_seeded(members[0].builder(), 0)
            most = self._packing(model, members[0]).lanes
            count = -(-len(members) // most)
            size, extra = divmod(len(members), count)
            start = 0
            for k in range(count):
                end = start + size + (k < extra)
                groups.append(Group(members[start:end]))
                start = end
        return groups

    def _packing(self, model: nn.Module, trial: Trial) -> Packing:
        return choose_packing(
            model, trial.recipe, device=self.device, lanes=self._lanes, workers=self._workers
        )

    def frame(self, trials: Iterable[Trial] | None = None) -> pd.DataFrame:
        """Return one row a trial: specification, status, reason and final numbers.

        Args:
            trials: Which, in this order; None takes all in the store.
        """
        table = index(self.store)
        if trials is None:
            return table
        ids = [trial.id for trial in trials]
        return table.set_index("trial", drop=False).reindex(ids).reset_index(drop=True)

    def history(self, trials: Iterable[Trial | str] | None = None) -> pd.DataFrame:
        """Return the histories of complete trials, one under the other, with a column `trial`.

        Args:
            trials: Which, as trials or ids; None takes all in the store.
        """
        if trials is None:
            trials = self.store.trial_ids()
        ids = [trial.id if isinstance(trial, Trial) else trial for trial in trials]
        frames = [
            self.store.history(name).assign(trial=name)
            for name in ids
            if self.store.is_complete(name)
        ]
        if not frames:
            return pd.DataFrame(columns=["epoch", "step", "trial"])
        return pd.concat(frames, ignore_index=True)

    def model(self, trial: Trial) -> nn.Module:
        """Return the trained network of a complete trial, in evaluation mode.

        Raises:
            StoreError: The trial is not complete, or its weights are damaged.
        """
        if not self.store.is_complete(trial.id):
            raise StoreError(f"Trial {trial.id} must be complete to have a network; run it first.")
        model = build_seeded(trial.builder(), trial.seed)
        held = dict([*model.named_parameters(), *model.named_buffers()])
        for name, value in self.store.weights(trial.id).items():
            held[name].data = value
        return model.eval()

    def __repr__(self) -> str:
        return f"Lab({self.store.files.root!r}, {len(self.store.trial_ids())} trials)"
