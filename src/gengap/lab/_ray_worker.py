"""What runs on the machines of a Ray cluster: one group of trials a task, and the mailbox."""

import contextlib
import math
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache, partial
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from gengap._errors import StoreError
from gengap.data import Split

from ._group import Group, Progress, train_group
from ._ingredients import Halves
from ._store import Store


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """A group as it is sent to a worker.

    Attributes:
        group: What to train; its data cannot be loaded before `of_worker` has said from where.
        halves: Where in the object store the data are: a reference, in a tuple so that Ray does
            not fetch it for every task.
        attempt: How often the group has been sent, counted from 1.
        device: Where to compute.
        checkpoints: A folder that every node sees, or None.
        checkpoint_seconds: Time between two checkpoints, at least.
    """

    group: Group
    halves: tuple[Any]
    attempt: int
    device: str
    checkpoints: str | None
    checkpoint_seconds: float


@final
@dataclass(frozen=True)
class Kept:
    """The files of a trial that has ended."""

    trial: str
    files: dict[str, bytes]


@final
@dataclass(frozen=True)
class Ended:
    """The end of an attempt at a group: done, or why not."""

    group: str
    attempt: int
    reason: str = ""
    store_broken: bool = False


Message = Progress | Kept | Ended
Letter = tuple[str, dict[str, Any]]
_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in (Progress, Kept, Ended)}


def letter(message: Message) -> Letter:
    """Return a message as built-in types, which the mailbox can hold without our modules."""
    return type(message).__name__, vars(message)


def opened(letter: Letter) -> Message:
    """Return the message of a letter."""
    message: Message = _KINDS[letter[0]](**letter[1])
    return message


def mailbox_class() -> type[Any]:
    """Return the actor where workers leave letters for the driver.

    The class is local, so that Ray sends it by value and its process need not load PyTorch.
    """
    import asyncio

    class Mailbox:
        def __init__(self) -> None:
            self._letters: asyncio.Queue[Letter] = asyncio.Queue()

        async def put(self, letter: Letter) -> None:
            """Leave a letter."""
            self._letters.put_nowait(letter)

        async def take(self) -> list[Letter]:
            """Wait for a letter; return all there are."""
            return [await self._letters.get(), *await self.rest()]

        async def rest(self) -> list[Letter]:
            """Return the letters there are."""
            return [self._letters.get_nowait() for _ in range(self._letters.qsize())]

    return Mailbox


class _WorkerStore(Store):
    """A store of one group: in memory, or in a folder that outlives this worker.

    It has no locks: Ray may believe a worker lost that still computes, and whoever computes a group
    writes the same files.
    """

    def __init__(self, work: Work, send: Callable[[Message], None]) -> None:
        root = work.checkpoints or f"memory://gengap-{uuid.uuid4().hex}"
        super().__init__(f"{root}/{work.group.id}")
        self._send = send

    @contextlib.contextmanager
    def claimed(self, name: str, *, wait: bool = False) -> Iterator[bool]:
        yield True

    def finish(self, trial: str, **result: Any) -> None:
        super().finish(trial, **result)
        self.send(trial)

    def send(self, trial: str) -> None:
        """Send the files of a trial that is complete."""
        folder = f"trials/{trial}"
        names = [name for name in self.files.names(folder) if name != "trial.json"]
        self._send(Kept(trial, {name: self.files.read(f"{folder}/{name}") for name in names}))


def train_on_worker(work: Work, mailbox: Any) -> None:
    """Train a group on a worker of a Ray cluster; results and progress go to the mailbox.

    Args:
        work: What to do.
        mailbox: Handle of the actor.
    """
    import ray

    torch.set_num_threads(1)
    sent: list[Any] = []

    def send(message: Message) -> None:
        sent.append(mailbox.put.remote(letter(message)))

    store = _WorkerStore(work, send)
    outlives = work.checkpoints is not None
    try:
        end = _attempt(store, work, send)
        ray.get(
            sent
        )  # letters overtake each other: the last must be sent when all others are there
        send(end)
        ray.get(sent)  # before the task ends: nothing is under way that could be lost with it
        outlives = outlives and not _is_done(store, work.group)
    finally:
        if not outlives:
            store.files.remove("")


def _attempt(store: _WorkerStore, work: Work, send: Callable[[Message], None]) -> Ended:
    """Train the group; return how that ended."""
    end = partial(Ended, work.group.id, work.attempt)
    try:
        group = _with_data(work)
        ids = [trial.id for trial in group.trials]
        for trial in ids:
            store.files.remove(f"trials/{trial}/failure.json")
            if store.is_complete(trial):  # since an attempt that left a checkpoint
                store.send(trial)
        store.record_group(group.id, ids)
        train_group(
            store,
            group,
            device=torch.device(work.device),
            report=send,
            checkpoint_seconds=work.checkpoint_seconds if work.checkpoints else math.inf,
        )
        failures = [store.failure(trial) for trial in ids]
    except StoreError as error:
        return end(str(error), store_broken=True)
    return end(next((reason for reason in failures if reason), ""))


def _is_done(store: Store, group: Group) -> bool:
    return all(store.is_complete(trial.id) for trial in group.trials)


def _with_data(work: Work) -> Group:
    """Return the group with data that are fetched from the object store of this node."""
    load = partial(_fetched, work.halves[0])
    data = replace(work.group.trials[0].data, load=load)
    return Group([replace(trial, data=data) for trial in work.group.trials])


@lru_cache(maxsize=1)
def _fetched(reference: Any) -> Halves:
    """Return the halves of a reference; those of the last one stay."""
    import ray

    train, test = ray.get(reference)
    return _unpacked(train), test and _unpacked(test)


PackedSplit = Mapping[str, Any]


def packed(split: Split) -> PackedSplit:
    """Return a split as arrays, which the processes of a node share in its object store."""
    values = {field.name: getattr(split, field.name) for field in fields(split)}
    return {name: _array(value) for name, value in values.items()}


def _array(value: object) -> object:
    shared = isinstance(value, Tensor) and value.dtype != torch.bfloat16
    return value.detach().cpu().numpy() if shared else value  # type: ignore[attr-defined]


def _unpacked(split: PackedSplit) -> Split:
    with warnings.catch_warnings():  # the arrays cannot be written, as no split ever is
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        values: dict[str, Any] = {
            name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            for name, value in split.items()
        }
        return Split(**values)
