"""Trials trained one after the other, each by all processes that `torchrun` started."""

import atexit
import contextlib
import os
import secrets
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import final

import torch
from torch import distributed

from gengap._errors import UsageError
from gengap.data import Ranks, current_ranks
from gengap.training import LanesUnavailable, pick_device

from ._engine import Engine, OnProgress
from ._group import CHECKPOINT_SECONDS, Group, NotOfTheTrial, Progress, train_group, train_on_ranks
from ._store import Store
from ._trial import Trial

_TOKEN = "ranks.json"
_LONGEST = timedelta(days=7)  # torchrun sees a rank die; a rank may wait as long as it must


@final
class TorchrunEngine(Engine):
    """The processes that `torchrun` started: all of them train each trial together.

    For trials too large for one device. Every rank makes the same calls; rank 0 leads: it alone
    writes the store, which lies in a folder that all of them see, and the others train what it
    names and read the results there. Checkpoints are as those of the local engine, and good for
    any number of ranks. Results are those of the local engine up to rounding.

    What goes wrong on one rank while a trial trains ends all of them, and the trial goes on from
    its last checkpoint when the same is run again.

    Attributes:
        checkpoint_seconds: Least time between two checkpoints, 3 if not said.
    """

    lanes = 1

    def __init__(self, *, checkpoint_seconds: float = CHECKPOINT_SECONDS) -> None:
        """Join the process group, or open it as `torchrun` says.

        Args:
            checkpoint_seconds: Least time between two checkpoints, 3 if not said.

        Raises:
            UsageError: `torchrun` did not start this process.
        """
        _join()
        self.ranks = current_ranks()
        self.checkpoint_seconds = checkpoint_seconds

    def device(self, name: str) -> torch.device:
        """Return this rank's own GPU where there is one, or the CPU."""
        device = pick_device(name)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        return device

    @contextlib.contextmanager
    def sweep(self, store: Store, trials: Sequence[Trial], device: torch.device) -> Iterator[bool]:
        """Let rank 0 run the sweep, and the others follow it until it ends."""
        ranks = self.ranks
        ranks.check_same("trials", " ".join(trial.id for trial in trials))
        _check_shared(store, ranks)
        if ranks.rank == 0:
            yield True
            _named(ranks, None)
        else:
            known = {trial.id: trial for trial in trials}
            while name := _named(ranks, None):
                self._follow(store, known[name], device)
            yield False

    def run(
        self, store: Store, groups: list[Group], *, device: torch.device, report: OnProgress
    ) -> None:
        """Train the groups, on rank 0."""

        def train(
            store: Store,
            group: Group,
            device: torch.device,
            report: OnProgress,
            checkpoint_seconds: float,
        ) -> None:
            if len(group.trials) > 1:
                raise LanesUnavailable("Ranks train one trial at a time.")
            _named(self.ranks, group.trials[0].id)
            with _one_thread(device):
                train_on_ranks(store, group, device, report, checkpoint_seconds, self.ranks)

        for group in groups:
            train_group(
                store,
                group,
                device=device,
                report=report,
                checkpoint_seconds=self.checkpoint_seconds,
                train=train,
            )

    def _follow(self, store: Store, trial: Trial, device: torch.device) -> None:
        """Train what rank 0 named; what it could not begin it has written down."""

        def report(progress: Progress) -> None:
            pass

        try:
            with _one_thread(device):
                train_on_ranks(
                    store, Group([trial]), device, report, self.checkpoint_seconds, self.ranks
                )
        except NotOfTheTrial as error:
            raise (error.__cause__ or error) from None
        except Exception:  # every rank met it before the first step
            return


def _join() -> None:
    if distributed.is_initialized():
        return
    if "WORLD_SIZE" not in os.environ or "RANK" not in os.environ:
        raise UsageError(
            "The engine 'torchrun' must be started by torchrun, which names the ranks; got no "
            "WORLD_SIZE. Run: torchrun --nproc_per_node 8 -m gengap ..."
        )
    backend = "gloo"
    if torch.cuda.is_available():
        backend = "nccl"
        local = int(os.environ.get("LOCAL_RANK", "0"))
        torch.cuda.set_device(local % torch.cuda.device_count())
    distributed.init_process_group(backend, timeout=_LONGEST)
    atexit.register(_leave)


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _named(ranks: Ranks, trial: str | None) -> str | None:
    """Return the id that rank 0 names, on every rank; None ends the sweep."""
    content = (trial or "").encode().ljust(64, b"\0")
    sent = ranks.from_first([torch.frombuffer(bytearray(content), dtype=torch.uint8)])[0]
    return bytes(sent.tolist()).rstrip(b"\0").decode() or None


def _check_shared(store: Store, ranks: Ranks) -> None:
    """Require that every rank sees what rank 0 writes."""
    token = ranks.from_first([torch.tensor([secrets.randbits(62)])])[0]
    if ranks.rank == 0:
        store.files.write_json(_TOKEN, int(token))
    ranks.added([torch.zeros(1)])  # written now
    seen = store.files.exists(_TOKEN) and store.files.read_json(_TOKEN) == int(token)
    count = int(ranks.added([torch.tensor([int(seen)])])[0])
    if ranks.rank == 0:
        store.files.remove(_TOKEN)
    if count < ranks.world:
        raise UsageError(
            f"`out` must be a folder that all {ranks.world} ranks see; {ranks.world - count} of "
            f"them do not see {store.files.root!r}."
        )


@contextlib.contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    """Compute with one thread on a CPU, as every engine does."""
    threads = torch.get_num_threads()
    try:
        if device.type == "cpu":
            torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(threads)
