"""Trials that train together, from their last checkpoint."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

import torch

from gengap._errors import StoreError
from gengap.training import LanesUnavailable, Outcome, Trainer, make_trainer

from ._store import Store
from ._trial import Trial

CHECKPOINT_SECONDS = 3.0
_CHECKPOINT_SHARE = 0.1
_PROGRESS_SECONDS = 0.2


@final
@dataclass(frozen=True)
class Progress:
    """How far a group is: sent a few times a second.

    Attributes:
        group: The group's id.
        epoch: Epochs done.
        epochs: Most epochs.
        finished: Trials of the group that have ended.
        trials: Trials of the group.
    """

    group: str
    epoch: int
    epochs: int
    finished: int
    trials: int


@final
@dataclass(frozen=True, eq=False)
class Group:
    """Trials that train together; the same trials in the same order do the same arithmetic.

    Attributes:
        trials: One or more, alike in data, network, recipe and probes.
        id: A hash of the trials' ids.
    """

    trials: list[Trial]
    id: str = field(init=False)

    def __post_init__(self) -> None:
        names = "\n".join(trial.id for trial in self.trials)
        object.__setattr__(self, "id", hashlib.blake2b(names.encode(), digest_size=10).hexdigest())


def train_group(
    store: Store,
    group: Group,
    *,
    device: torch.device,
    report: Callable[[Progress], None] = lambda progress: None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> bool:
    """Train a group from its last checkpoint and write every trial's result as it ends.

    A trial that raises is written as failed, and the others of its group with it, since they
    share the program; what the store cannot take is raised.

    Returns:
        Whether the work was ours: False when another process is at it, or was and is done.
    """
    with store.claimed(group.id) as ours:
        if not ours or not store.is_recorded(group.id):
            return False
        if all(store.is_complete(trial.id) for trial in group.trials):
            store.remove_group(group.id)
            return True
        for trial in group.trials:
            store.begin(trial)
        try:
            _train(store, group, device, report, checkpoint_seconds)
        except (StoreError, BrokenPipeError):  # no disk, or whoever started this process is gone
            raise
        except LanesUnavailable as error:
            _one_by_one(store, group, error, device, report, checkpoint_seconds)
        except Exception as error:
            for trial in group.trials:
                if not store.is_complete(trial.id):
                    store.fail(trial.id, f"{type(error).__name__}: {error}")
            return True
        store.remove_group(group.id)
    return True


def _one_by_one(
    store: Store,
    group: Group,
    error: LanesUnavailable,
    device: torch.device,
    report: Callable[[Progress], None],
    checkpoint_seconds: float,
) -> None:
    """Train the trials one after the other, because their network cannot be stacked."""
    if len(group.trials) == 1:
        raise error
    for trial in group.trials:
        alone = Group([trial])
        store.record_group(alone.id, [trial.id])
        train_group(
            store,
            alone,
            device=device,
            report=report,
            checkpoint_seconds=checkpoint_seconds,
        )


def _trainer(store: Store, group: Group, device: torch.device) -> Trainer:
    """Return a trainer at the group's last checkpoint; at the start where there is no good one."""
    first = group.trials[0]
    lanes = [trial.lane() for trial in group.trials]

    def fresh() -> Trainer:
        return make_trainer(
            first.builder(), lanes, recipe=first.recipe, device=device, probes=first.probes
        )[0]

    trainer = fresh()
    saved = store.checkpoint(group.id)
    if saved:
        try:
            trainer.restore(*saved)
        except Exception:  # whatever is wrong with it, the trials can be trained again
            return fresh()
    return trainer


def _train(
    store: Store,
    group: Group,
    device: torch.device,
    report: Callable[[Progress], None],
    checkpoint_seconds: float,
) -> None:
    trials = group.trials
    recipe = trials[0].recipe
    trainer = _trainer(store, group, device)
    clock = {"checkpoint": time.monotonic() + checkpoint_seconds, "report": 0.0}

    def on_end(outcome: Outcome) -> None:
        if outcome.status != "interrupted":
            store.finish(
                trials[outcome.lane].id,
                rows=outcome.rows,
                weights=outcome.values,
                status=outcome.status,
                reason=outcome.reason,
                group=group.id,
                frames=outcome.probed.frames() if outcome.probed else {},
            )

    def on_epoch(trainer: Trainer) -> None:
        now = time.monotonic()
        if trainer.active and now >= clock["checkpoint"]:
            store.save_checkpoint(group.id, *trainer.state())
            then = time.monotonic()
            rest = max(checkpoint_seconds, (then - now) / _CHECKPOINT_SHARE)
            clock["checkpoint"] = then + rest
        if now - clock["report"] >= _PROGRESS_SECONDS or not trainer.active:
            ended = len(trials) - len(trainer.active)
            report(Progress(group.id, trainer.epoch, recipe.epochs, ended, len(trials)))
            clock["report"] = now

    trainer.run(on_end, on_epoch)
