"""Where groups of trials are trained: the joint into which a cluster slides."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import final

import torch

from gengap._errors import StoreError
from gengap.training import map_processes, send_message

from ._group import Group, Progress, train_group
from ._store import Store

OnProgress = Callable[[Progress], None]


class Engine(ABC):
    """Trains groups of trials and sees to it that their results reach the store."""

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
        workers: Most processes.
    """

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers

    def run(
        self, store: Store, groups: list[Group], *, device: torch.device, report: OnProgress
    ) -> None:
        """Train the groups."""
        if self.workers > 1 and len(groups) > 1 and device.type == "cpu":
            self._in_processes(store, groups, device, report)
            return
        threads = torch.get_num_threads()
        try:
            if device.type == "cpu":
                torch.set_num_threads(1)
            for group in groups:
                train_group(store, group, device=device, report=report)
        finally:
            torch.set_num_threads(threads)

    def _in_processes(
        self, store: Store, groups: list[Group], device: torch.device, report: OnProgress
    ) -> None:
        def train(group: Group) -> str | None:
            try:
                train_group(store, group, device=device, report=send_message)
            except StoreError as error:
                return str(error)
            return None

        for group in groups:  # so that the processes inherit what is read, and read it once
            group.trials[0].data.load()
        complaints = map_processes(train, groups, workers=self.workers, on_message=report)  # type: ignore[arg-type]
        for complaint in complaints:
            if complaint is not None:
                raise StoreError(complaint)
