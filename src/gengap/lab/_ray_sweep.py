"""One sweep on a Ray cluster, seen from the process that writes the store."""

import warnings
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, final

import torch

from gengap._errors import StoreError

from ._engine import OnProgress
from ._group import Group, Progress
from ._ingredients import Halves
from ._plain import canonical
from ._ray_user_code import user_code_sent
from ._ray_worker import (
    Ended,
    Kept,
    Message,
    Work,
    mailbox_class,
    opened,
    packed,
    train_on_worker,
)
from ._store import Store

ATTEMPTS = 3
_SENT_WITHOUT_ROOM = 16
_PATIENCE = 10.0


@dataclass(kw_only=True, eq=False)
class _Sent:
    """A group that is at a worker, or waits for one.

    Attributes:
        group: The group.
        lock: What is held while it is ours.
        attempt: How often it has been sent.
        task: Ray's reference to the task; None once the task has ended.
    """

    group: Group
    lock: ExitStack
    attempt: int = 0
    task: Any = None


@final
class RaySweep:
    """One sweep on a Ray cluster, to which this process is connected.

    Groups are sent as tasks of one attempt each; it is decided here what is sent again.
    """

    def __init__(
        self,
        store: Store,
        *,
        device: torch.device,
        report: OnProgress,
        asked: dict[str, float],
        most_sent: int | None,
        checkpoints: str | None,
        checkpoint_seconds: float,
    ) -> None:
        """Start the mailbox.

        Args:
            store: Where results go.
            device: Where workers compute.
            report: Called with the progress of each group.
            asked: `num_cpus` and `num_gpus` of a group.
            most_sent: Most groups sent at a time; None follows the size of the cluster.
            checkpoints: A folder that every machine sees, or None.
            checkpoint_seconds: Time between two checkpoints, at least.
        """
        import ray

        self._ray: Any = ray
        self._store, self._report, self._asked, self._limit = store, report, asked, most_sent
        self._terms: dict[str, Any] = {
            "device": device.type,
            "checkpoints": checkpoints,
            "checkpoint_seconds": checkpoint_seconds,
        }
        self._halves: dict[str, tuple[Any]] = {}
        self._sent: dict[str, _Sent] = {}
        self._train = self._ray.remote(train_on_worker).options(
            max_retries=0, name="gengap", **asked
        )
        self._mailbox = (
            self._ray
            .remote(mailbox_class())
            .options(num_cpus=0, scheduling_strategy=_beside_the_driver())
            .remote()
        )
        self._ray.get(self._mailbox.rest.remote())  # up, lest the first letters come late

    def run(self, groups: list[Group]) -> None:
        """Train the groups that no other process is at."""
        self._warn_of_want()
        for group in groups:
            group.trials[0].data.load()
        with user_code_sent():
            waiting, letters = deque(groups), self._mailbox.take.remote()
            while waiting or self._sent:
                while waiting and len(self._sent) < self._most_sent():
                    self._claim(waiting.popleft())
                if self._sent:
                    letters = self._wait(letters)

    def _wait(self, letters: Any) -> Any:
        """Wait until something happens and see to it; return the reference to the next letters."""
        tasks = [sent.task for sent in self._sent.values() if sent.task is not None]
        ready, _ = self._ray.wait([letters, *tasks], timeout=_PATIENCE)
        if letters in ready:
            for letter in self._ray.get(letters):
                self._take(opened(letter))
            letters = self._mailbox.take.remote()
        for sent in list(self._sent.values()):
            if sent.task in ready:
                self._end_task(sent)
        return letters

    def close(self) -> None:
        """Cancel what is under way, keep what has ended, let go of everything."""
        ray = self._ray
        try:
            tasks = [sent.task for sent in self._sent.values() if sent.task is not None]
            for force in (False, True):
                for task in tasks:
                    ray.cancel(task, force=force)
                _, tasks = ray.wait(tasks, num_returns=len(tasks), timeout=5) if tasks else ([], [])
            if self._sent:
                for message in map(opened, ray.get(self._mailbox.rest.remote(), timeout=5)):
                    if isinstance(message, Kept):
                        self._keep(message)
            ray.kill(self._mailbox)
        except ray.exceptions.RayError:
            pass  # the cluster is gone, and with it what was under way
        finally:
            for sent in self._sent.values():
                sent.lock.close()

    def _most_sent(self) -> int:
        """Return how many groups may be sent: as many as there is room for.

        For each that waits at a machine, Ray would start another worker there, to end it again
        when the one that has become free takes the group. Where there is no room, some wait, so
        that a cluster that can grow does.
        """
        if self._limit is not None:
            return self._limit
        room = self._ray.cluster_resources()
        asked = {"CPU": self._asked["num_cpus"], "GPU": self._asked["num_gpus"]}
        slots = [room.get(k, 0.0) / share for k, share in asked.items() if share]
        return int(min(slots, default=0)) or _SENT_WITHOUT_ROOM

    def _claim(self, group: Group) -> None:
        """Take a group that no other process is at, and send it."""
        store, lock = self._store, ExitStack()
        try:
            ours = lock.enter_context(store.claimed(group.id)) and store.is_recorded(group.id)
            if ours and self._is_done(group):
                store.remove_group(group.id)
            elif ours:
                for trial in group.trials:
                    store.begin(trial)
                sent = self._sent[group.id] = _Sent(group=group, lock=lock.pop_all())
                self._send(sent)
        finally:
            lock.close()

    def _send(self, sent: _Sent) -> None:
        sent.attempt += 1
        data = replace(sent.group.trials[0].data, load=_stays_here)
        work = Work(
            group=Group([replace(trial, data=data) for trial in sent.group.trials]),
            halves=self._reference(sent.group),
            attempt=sent.attempt,
            **self._terms,
        )
        sent.task = self._train.remote(work, self._mailbox)

    def _reference(self, group: Group) -> tuple[Any]:
        """Return where in the object store a group's data are; put them there the first time."""
        data = group.trials[0].data
        key = canonical(data.spec)
        if key not in self._halves:
            train, test = data.load()
            self._halves[key] = (self._ray.put((packed(train), test and packed(test))),)
        return self._halves[key]

    def _take(self, message: Message) -> None:
        if isinstance(message, Progress):
            self._report(message)
        elif isinstance(message, Kept):
            self._keep(message)
        else:
            self._end(message)

    def _keep(self, kept: Kept) -> None:
        """Write the files of a trial, its result last, unless an earlier attempt's are there."""
        if self._store.is_complete(kept.trial):
            return
        folder = f"trials/{kept.trial}"
        for name in sorted(kept.files, key=lambda name: name == "result.json"):
            self._store.files.write(f"{folder}/{name}", kept.files[name])
        self._store.files.remove(f"{folder}/failure.json")

    def _end(self, ended: Ended) -> None:
        sent = self._sent.get(ended.group)
        if sent is None:
            return
        if self._is_done(sent.group):
            self._store.remove_group(ended.group)
            self._let_go(sent)
            if ended.attempt < sent.attempt:  # the one thought lost was not
                self._ray.cancel(sent.task)
        elif ended.attempt == sent.attempt:
            if ended.store_broken:
                raise StoreError(ended.reason)
            self._again(sent, ended.reason)

    def _end_task(self, sent: _Sent) -> None:
        """See whether a task has ended well, and its messages are there, or was lost."""
        task, sent.task = sent.task, None
        try:
            self._ray.get(task)
        except self._ray.exceptions.RayTaskError as error:
            self._again(sent, f"{type(error.cause).__name__}: {error.cause}")
        except self._ray.exceptions.RayError as error:
            words = str(error).strip().split("\n")[0]
            self._again(sent, f"The worker was lost ({type(error).__name__}): {words}")

    def _again(self, sent: _Sent, reason: str) -> None:
        """Send a group again, or write its trials as failed."""
        if sent.attempt < ATTEMPTS:
            self._send(sent)
            return
        for trial in sent.group.trials:
            if not self._store.is_complete(trial.id):
                self._store.fail(trial.id, reason)
        self._let_go(sent)

    def _let_go(self, sent: _Sent) -> None:
        del self._sent[sent.group.id]
        sent.lock.close()

    def _is_done(self, group: Group) -> bool:
        return all(self._store.is_complete(trial.id) for trial in group.trials)

    def _warn_of_want(self) -> None:
        """Say so where no machine has what a group asks for, lest one wait without knowing."""
        asked = {"CPU": self._asked["num_cpus"], "GPU": self._asked["num_gpus"]}
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if not any(all(node.get(k, 0.0) >= v for k, v in asked.items()) for node in nodes):
            warnings.warn(
                f"No machine of the Ray cluster has {asked['CPU']:g} CPUs and {asked['GPU']:g} "
                "GPUs, which a group of trials asks for; waiting for one that has.",
                stacklevel=4,
            )


def _stays_here() -> Halves:
    raise AssertionError("Data are loaded by the driver, and fetched from the object store.")


def _beside_the_driver() -> Any:
    """Return Ray's strategy for what must live as long as the driver: on its own machine."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
