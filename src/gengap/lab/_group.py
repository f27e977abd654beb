"""Trials that train together, from their last checkpoint."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from gengap._errors import StoreError
from gengap.data import Ranks
from gengap.training import Lane, LanesUnavailable, Outcome, Trainer, make_trainer

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


Report = Callable[[Progress], None]
Train = Callable[[Store, Group, torch.device, Report, float], None]


class NotOfTheTrial(Exception):
    """What a trial is not to be called failed for; its cause is raised in its place."""


def train_group(
    store: Store,
    group: Group,
    *,
    device: torch.device,
    report: Report = lambda progress: None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    train: Train | None = None,
) -> bool:
    """Train a group from its last checkpoint and write every trial's result as it ends.

    A trial that raises is written as failed, and the others of its group with it, since they
    share the program; what the store cannot take, or `report` raises, is raised.

    Args:
        store: Where results and checkpoints go.
        group: What to train.
        device: Where to compute.
        report: Called with the progress.
        checkpoint_seconds: Least time between two checkpoints, 3 if not said.
        train: What trains the group once it is ours; None trains it in this process.

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
            (train or train_on_ranks)(store, group, device, report, checkpoint_seconds)
        except NotOfTheTrial as error:
            raise (error.__cause__ or error) from None
        except (StoreError, BrokenPipeError):  # no disk, or whoever started this process is gone
            raise
        except LanesUnavailable as error:
            _one_by_one(store, group, error, device, report, checkpoint_seconds, train)
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
    report: Report,
    checkpoint_seconds: float,
    train: Train | None,
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
            train=train,
        )


def _lanes(group: Group, ranks: Ranks) -> list[Lane]:
    """Return the lanes; what one rank cannot read is an error on all of them."""
    lanes: list[Lane] = []
    error = None
    try:
        lanes = [trial.lane() for trial in group.trials]
    except Exception as caught:
        error = caught
    failed = int(ranks.added([torch.tensor([int(error is not None)])])[0])
    if error is not None:
        raise error
    if failed:
        raise RuntimeError(f"{failed} of {ranks.world} ranks could not read the data.")
    return lanes


def _saved(store: Store, group: Group, ranks: Ranks) -> tuple[dict[str, Tensor], dict] | None:
    """Return the last checkpoint, if every rank sees the same."""
    saved = store.checkpoint(group.id)
    if ranks.world == 1:
        return saved
    epoch = saved[1].get("epoch") if saved else None
    mark = torch.tensor([epoch if isinstance(epoch, int) else -1])
    every = ranks.gathered(mark, ranks.world).tolist()
    return saved if len(set(every)) == 1 else None


def _trainer(store: Store, group: Group, device: torch.device, ranks: Ranks) -> Trainer:
    """Return a trainer at the group's last checkpoint; at the start where there is no good one."""
    first, lanes = group.trials[0], _lanes(group, ranks)

    def fresh() -> Trainer:
        return make_trainer(
            first.builder(),
            lanes,
            recipe=first.recipe,
            device=device,
            probes=first.probes,
            ranks=ranks,
        )[0]

    trainer = fresh()
    saved = _saved(store, group, ranks)
    if saved:
        try:
            trainer.restore(*saved)
        except Exception:  # whatever is wrong with it, the trials can be trained again
            return fresh()
    return trainer


def train_on_ranks(
    store: Store,
    group: Group,
    device: torch.device,
    report: Report,
    checkpoint_seconds: float,
    ranks: Ranks | None = None,
) -> None:
    """Train a group from its last checkpoint; rank 0 writes, `ranks` train together."""
    ranks = ranks or Ranks()
    trials, leads = group.trials, ranks.rank == 0
    recipe = trials[0].recipe
    trainer = _trainer(store, group, device, ranks)
    clock = {"checkpoint": time.monotonic() + checkpoint_seconds, "report": 0.0}

    def on_end(outcome: Outcome) -> None:
        if leads and outcome.status != "interrupted":
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
            _told(report, Progress(group.id, trainer.epoch, recipe.epochs, ended, len(trials)))
            clock["report"] = now

    try:
        trainer.run(on_end, on_epoch if leads else None)
    except Exception as error:
        if ranks.world > 1:  # the other ranks wait in vain: no more can be done together
            raise NotOfTheTrial from error
        raise


def _told(report: Report, progress: Progress) -> None:
    try:
        report(progress)
    except Exception as error:
        raise NotOfTheTrial from error
