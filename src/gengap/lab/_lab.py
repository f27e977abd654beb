"""Where trials are run, stored, resumed and queried."""

import itertools
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import pandas as pd
import torch
from torch import nn

from gengap._checks import check_count
from gengap._errors import StoreError
from gengap.training import Packing, build_seeded, choose_packing

from ._engine import Engine, LocalEngine
from ._group import Group, Progress
from ._index import index
from ._ingredients import Builder
from ._measurement import Measurement, measure, measured
from ._ray_engine import RayEngine
from ._store import Store
from ._torchrun_engine import TorchrunEngine
from ._trackers import Track, open_trackers
from ._tracking import Watch
from ._trial import Trial

ENGINES: dict[str, Callable[[int | None], Engine]] = {
    "local": LocalEngine,
    "ray": lambda workers: RayEngine(workers=workers),
    "torchrun": lambda workers: TorchrunEngine(),
}
_PAUSE, _LONGEST_PAUSE = 0.5, 8.0


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
        engine: Literal["local", "ray", "torchrun"] | Engine = "local",
        device: str = "auto",
        lanes: int | None = None,
        workers: int | None = None,
        track: Track = None,
    ) -> None:
        """Open a store, which is made when the first trial is run.

        Args:
            address: A folder, or any address that fsspec knows.
            engine: "local"; "ray", a Ray cluster as `RayEngine()` finds it; "torchrun", whose
                processes train each trial together; or an engine.
            device: "auto", "cpu" or "cuda".
            lanes: Most trials trained as one program; None chooses.
            workers: Most processes of the local engine, None means one a core; most groups at a
                time of Ray's, None means as many as there is room for.
            track: Where trials are shown as they end: "tensorboard", "mlflow", "wandb", a Tracker,
                or several.
        """
        if engine not in ENGINES and not isinstance(engine, Engine):
            names = ", ".join(map(repr, ENGINES))
            raise ValueError(f"`engine` must be one of {names} or an Engine; got {engine!r}.")
        if lanes is not None:
            check_count("lanes", lanes)
        self.store = Store(address)
        if not isinstance(engine, Engine):
            engine = ENGINES[engine](workers)
        self._engine = engine
        self.device = engine.device(device)
        self._lanes = engine.lanes or lanes
        self._trackers = open_trackers(None if engine.ranks.rank else track, self.store)
        self._packings: dict[str, Packing] = {}

    def run(
        self,
        trials: Iterable[Trial],
        *,
        progress: Callable[[Progress], None] | None = None,
    ) -> pd.DataFrame:
        """Run the trials that are not complete; return a row for each trial asked for.

        Raises:
            StoreError: The store cannot be written, a file in it is damaged, or a tracker cannot
                take a trial.
        """
        trials = list({trial.id: trial for trial in trials}.values())
        with self._engine.sweep(self.store, trials, self.device) as leads:
            if leads:
                self._run(trials, progress)
        return self.frame(trials)

    def _run(self, trials: list[Trial], progress: Callable[[Progress], None] | None = None) -> None:
        self._check(trials)
        watch = Watch(self.store, self._trackers, [trial.id for trial in trials])
        pause = _PAUSE
        while groups := self._plan(trials):
            before = len(self._pending(trials))
            self._engine.run(
                self.store,
                groups,
                device=self.device,
                report=watch.reporter(groups, progress),
            )
            if len(self._pending(trials)) < before:
                pause = _PAUSE
            else:  # another process is at what is left
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        watch.finish()

    def _check(self, trials: Sequence[Trial]) -> None:
        """Read what is there before anything starts, so that nothing is lost to a damaged file."""
        for trial in trials:
            self.store.check(trial)
            if self.store.is_complete(trial.id):
                self.store.result(trial.id)
            else:
                self.store.files.remove(f"trials/{trial.id}/failure.json")

    def _pending(self, trials: Sequence[Trial]) -> list[Trial]:
        """Return the trials that are neither complete nor, since this run began, failed."""
        return [
            trial
            for trial in trials
            if not self.store.is_complete(trial.id) and self.store.failure(trial.id) is None
        ]

    def _plan(self, trials: Sequence[Trial]) -> list[Group]:
        """Return the groups to train: those recorded by an earlier run first, as they were."""
        for trial in self._pending(trials):
            self._packing(trial)  # builds networks, so not while others wait
        with self.store.claimed("plan", wait=True):
            self.store.finish_recording()
            pending = {trial.id: trial for trial in self._pending(trials)}
            old = self._recorded(pending, {trial.id: trial for trial in trials})
            new = self._packed(list(pending.values()))
            if new:
                self.store.record_groups({g.id: [t.id for t in g.trials] for g in new})
        return old + new

    def _recorded(self, pending: dict[str, Trial], known: dict[str, Trial]) -> list[Group]:
        """Return the recorded groups that hold pending trials, and take those out of `pending`.

        A recorded group is trained whole, even if only some of its trials are asked for now. One
        that nobody has begun, or whose record does not fit its name, is dissolved.
        """
        groups = []
        for name, members in self.store.groups().items():
            asked = pending.keys() & members
            if not asked:
                continue
            group = self._whole(members, known)
            if group is None or group.id != name:
                with self.store.claimed(name) as ours:
                    if ours:
                        self.store.remove_group(name)
                        continue
                group = Group([pending[member] for member in members if member in asked])
            groups.append(group)
            for member in asked:
                del pending[member]
        return groups

    def _whole(self, members: Sequence[str], known: dict[str, Trial]) -> Group | None:
        """Return a group with those of its trials that were not asked for, told from the store."""
        model = next(known[member] for member in members if member in known)
        trials = []
        for member in members:
            try:
                trials.append(known.get(member) or model.sibling(self.store.spec(member)))
            except (StoreError, KeyError, TypeError, ValueError):
                return None
            if trials[-1].id != member:
                return None
        return Group(trials)

    def _packed(self, trials: Sequence[Trial]) -> list[Group]:
        """Pack trials that can share a program, in the order given, into groups of even size."""
        alike: dict[str, list[Trial]] = {}
        for trial in trials:
            alike.setdefault(trial.lane_key, []).append(trial)
        groups = []
        for members in alike.values():
            rest = iter(members)
            sizes = self._packing(members[0]).sizes(len(members))
            groups += [Group(list(itertools.islice(rest, size))) for size in sizes]
        return groups

    def _packing(self, trial: Trial) -> Packing:
        """Return how trials like this one are packed into programs."""
        if trial.lane_key not in self._packings:
            self._packings[trial.lane_key] = choose_packing(
                build_seeded(trial.builder(), 0),
                trial.recipe,
                device=self.device,
                lanes=self._lanes,
            )
        return self._packings[trial.lane_key]

    def frame(self, trials: Iterable[Trial] | None = None) -> pd.DataFrame:
        """Return one row a trial: specification, status, reason and final numbers.

        Args:
            trials: Which, in this order; None takes all in the store.
        """
        table = index(self.store)
        if trials is None:
            return table
        ids = [trial.id for trial in trials]
        rows = table.set_index("trial").reindex(ids).rename_axis("trial").reset_index()
        absent = ~rows["trial"].isin(table["trial"])
        rows.loc[absent, ["status", "reason"]] = ["unfinished", "Nobody has begun it yet."]
        return rows[table.columns]

    def history(self, trials: Iterable[Trial | str] | None = None) -> pd.DataFrame:
        """Return the histories of complete trials, one under the other, with a column `trial`.

        Args:
            trials: Which, as trials or ids; None takes all in the store.
        """
        return self._joined("history", trials)

    def coherence(self, trials: Iterable[Trial | str] | None = None) -> pd.DataFrame:
        """Return what the coherence probes of complete trials measured, with a column `trial`.

        Trials are chosen as by `history`, the columns are those of `Run.coherence`; trials
        without the probe are left out.
        """
        return self._joined("coherence", trials)

    def null_worlds(self, trials: Iterable[Trial | str] | None = None) -> pd.DataFrame:
        """Return `Run.null_worlds` of complete trials, chosen as by `history`."""
        return self._joined("null_worlds", trials)

    def examples(self, trial: Trial | str | None = None) -> pd.DataFrame:
        """Return what became of a complete trial's training examples, as `Run.examples` does.

        Args:
            trial: Which; None takes all in the store that followed their examples, one under the
                other, with a column `trial`.

        Raises:
            StoreError: The trial is not complete, or its probes did not follow the examples.
        """
        if trial is None:
            return self._joined("examples", None)
        name = trial.id if isinstance(trial, Trial) else trial
        if not (self.store.is_complete(name) and self._probed(name, "examples")):
            raise StoreError(
                f"Trial {name} must be complete and follow its examples; run it with "
                "`probes=Probes(examples=True)`."
            )
        return self.store.table(name, "examples")

    def _joined(self, table: str, trials: Iterable[Trial | str] | None) -> pd.DataFrame:
        """Return a table of all complete trials that were to have it, one under the other."""
        if trials is None:
            trials = self.store.trial_ids()
        ids = [trial.id if isinstance(trial, Trial) else trial for trial in trials]
        names = [
            name
            for name in ids
            if self.store.is_complete(name) and (table == "history" or self._probed(name, table))
        ]
        return self.store.joined(names, table)

    def _probed(self, trial: str, table: str) -> bool:
        """Return whether a trial's probes were asked for a table."""
        return bool((self.store.spec(trial).get("probes") or {}).get(table))

    def measure(
        self,
        measurements: Iterable[Measurement],
        *,
        compute: bool = True,
        progress: Callable[[Progress], None] | None = None,
    ) -> list[dict[str, Any] | None]:
        """Return the values of measurements, computing and keeping those that are not there.

        On a CPU they are computed by as many processes as trials are, each with one thread.

        Args:
            measurements: What to measure, of complete trials or of none.
            compute: Whether to compute anything; without, only what is kept is told.
            progress: Called when a measurement is done.

        Returns:
            Values in the order asked for; None for those of trials that are not complete, and
            without `compute` for those that are not there.

        Raises:
            StoreError: The store cannot be read or written.
        """
        asked = list(measurements)
        ready = [one for one in asked if self._ready(one)]
        missing = {one.file: one for one in ready if measured(self.store, one) is None}
        if compute and missing and self._engine.ranks.rank == 0:
            for one in missing.values():
                if one.trial is not None:
                    one.trial.data.load()  # so that processes inherit it
            workers = 1
            if isinstance(self._engine, LocalEngine) and self.device.type == "cpu":
                workers = self._engine.workers if hasattr(os, "fork") else 1
            report = progress or (lambda progress: None)
            measure(self.store, list(missing.values()), workers=workers, report=report)
        self._engine.ranks.added([torch.zeros(1)])  # every rank reads what rank 0 has computed
        known = {one.file for one in ready}
        return [measured(self.store, one) if one.file in known else None for one in asked]

    def _ready(self, measurement: Measurement) -> bool:
        return measurement.trial is None or self.store.is_complete(measurement.trial.id)

    def model(self, trial: Trial) -> nn.Module:
        """Return the trained network of a complete trial; errors as of `network`."""
        return self.network(trial.id, trial.builder())

    def network(self, trial: str, build: Builder) -> nn.Module:
        """Return the trained network of the trial with this id; `build` makes its architecture.

        Raises:
            StoreError: The trial is not complete, or its weights are damaged.
        """
        if not self.store.is_complete(trial):
            raise StoreError(f"Trial {trial} must be complete to have a network; run it first.")
        model = build_seeded(build, 0)
        held = dict([*model.named_parameters(), *model.named_buffers()])
        kept = self.store.weights(trial)
        if {k: v.shape for k, v in kept.items()} != {k: v.shape for k, v in held.items()}:
            raise StoreError(
                f"The weights of trial {trial} must be those of its network; they have other "
                "names or shapes. Remove the trial's folder to run it again."
            )
        for name, value in kept.items():
            held[name].data = value
        model.eval()
        return model

    def __repr__(self) -> str:
        return f"Lab({self.store.files.root!r}, {len(self.store.trial_ids())} trials)"
