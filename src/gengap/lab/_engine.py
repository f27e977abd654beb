"""Where groups of trials are trained: the joint into which a cluster slides."""

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, final

import torch

from gengap._checks import check_count
from gengap._errors import UsageError
from gengap.data import Ranks, current_ranks
from gengap.training import available_cores, map_processes, pick_device, send_message

from ._group import CHECKPOINT_SECONDS, Group, Progress, train_group
from ._store import Store
from ._trial import Trial

OnProgress = Callable[[Progress], None]


class Engine(ABC):
    """Trains groups of trials and sees to it that their results reach the store.

    `train_group` does the work of one group and may be called anywhere that can reach the store:
    it takes the group's lock, goes on from its checkpoint and writes the results. An engine only
    decides where and when it is called. `Lab.run` calls the engine again with what is left.

    Attributes:
        lanes: Most trials trained as one program; None leaves it to the lab.
        ranks: The processes that make the same calls of one lab; alone unless they train together.
    """

    lanes: ClassVar[int | None] = None
    ranks: Ranks = Ranks()

    def device(self, name: str) -> torch.device:
        """Return where "auto", "cpu" or "cuda" is for this engine."""
        return pick_device(name)

    @contextlib.contextmanager
    def sweep(self, store: Store, trials: Sequence[Trial], device: torch.device) -> Iterator[bool]:
        """Enclose a call of `Lab.run`; yields whether this process is the one that runs it.

        Raises:
            UsageError: Several processes would run it, each on its own.
        """
        world = current_ranks().world
        if world == 1 and "TORCHELASTIC_RUN_ID" in os.environ:
            world = int(os.environ.get("WORLD_SIZE", "1"))
        if world > 1:
            raise UsageError(
                f"`engine` must be 'torchrun' where torchrun starts several processes; got "
                f"{type(self).__name__} in one of {world}."
            )
        yield True

    @abstractmethod
    def run(
        self, store: Store, groups: list[Group], *, device: torch.device, report: OnProgress
    ) -> None:
        """Train the groups; return when each is done or another process is at it.

        Args:
            store: Where results and checkpoints go.
            groups: What to train; the same group gives the same numbers on any engine.
            device: Where to compute.
            report: Called with the progress of each group, in this process.

        Raises:
            StoreError: The store cannot be read or written.
        """


@final
class LocalEngine(Engine):
    """This machine: this process, or forked processes of one thread each.

    On a CPU every group computes with one thread wherever it runs, so that the number of workers
    does not touch the numbers.

    Attributes:
        workers: Most processes; on a GPU there is one in any case.
        checkpoint_seconds: Least time between two checkpoints of a group, 3 if not said.
    """

    def __init__(
        self, workers: int | None = None, *, checkpoint_seconds: float = CHECKPOINT_SECONDS
    ) -> None:
        """Make an engine.

        Args:
            workers: Most processes; None means one a core.
            checkpoint_seconds: Least time between two checkpoints of a group, 3 if not said.
        """
        self.workers = available_cores() if workers is None else workers
        check_count("workers", self.workers)
        self.checkpoint_seconds = checkpoint_seconds

    def run(
        self, store: Store, groups: list[Group], *, device: torch.device, report: OnProgress
    ) -> None:
        """Train the groups."""
        for group in groups:  # so that processes inherit what is read, and read it once
            group.trials[0].data.load()
        if device.type != "cpu":
            self._in_turn(store, groups, device, report)
        elif self.workers > 1 and len(groups) > 1 and hasattr(os, "fork"):
            self._in_processes(store, groups, device, report)
        else:
            threads = torch.get_num_threads()
            try:
                torch.set_num_threads(1)
                self._in_turn(store, groups, device, report)
            finally:
                torch.set_num_threads(threads)

    def _in_turn(
        self, store: Store, groups: list[Group], device: torch.device, report: OnProgress
    ) -> None:
        every = self.checkpoint_seconds
        for group in groups:
            train_group(store, group, device=device, report=report, checkpoint_seconds=every)

    def _in_processes(
        self, store: Store, groups: list[Group], device: torch.device, report: OnProgress
    ) -> None:
        def train(group: Group) -> None:
            self._in_turn(store, [group], device, send_message)

        try:
            map_processes(train, groups, workers=self.workers, on_message=report)  # type: ignore[arg-type]
        except BaseException:  # the processes were ended, perhaps in the middle of a write
            for group in groups:
                store.sweep(group.id, [trial.id for trial in group.trials])
            raise
