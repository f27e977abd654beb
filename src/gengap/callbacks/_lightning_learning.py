"""When each training example is learned, in the logs of a Lightning trainer."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gengap._checks import check_count

from ._learning import Follower, Predict

if TYPE_CHECKING:
    import pandas as pd

KEY = "gengap.LightningLearningTime"


class LightningLearningTime(pl.Callback):
    """Follows every training example: when it is learned, how clearly, whether it is forgotten.

    At the end of an epoch the network, in evaluation mode, goes over all training examples once;
    `learned` (share of the examples that were right at one such time) and `forgetting_events`
    are logged. `examples` is what `Run.examples` is, so that `gengap.memorization.example_scores`
    and `rank_labels` take it. Examples are counted as the data set does; random transforms of it
    draw anew, so give one without them if there is one. Under several processes each goes over
    all examples.

    Checkpoints hold what was seen, so that a training that is resumed goes on and has the table of
    one that was not interrupted; from a checkpoint without it, or of other examples, it warns and
    begins anew. A training from the start begins anew.

    Cost: a forward pass over the training examples, every so many epochs. A checkpoint grows by
    53 + 4 c bytes an example of c classes.

    Args:
        every: Epochs between two looks.
        dataset: The examples; None takes those of the training loader.
        predict: Module and batch to logits [b, c] and labels [b]; None takes batches (x, y) and
            calls the module on x.
    """

    def __init__(
        self, *, every: int = 1, dataset: Dataset | None = None, predict: Predict | None = None
    ) -> None:
        """Set how often to look, at what, and how."""
        check_count("every", every)
        self.every, self._dataset, self._predict = every, dataset, predict or _call
        self._follower = Follower()
        self._stored: Mapping[str, Any] | None = None

    @property
    def examples(self) -> "pd.DataFrame":
        """A row an example; the columns are those of `gengap.Run.examples`."""
        return self._follower.examples

    def setup(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule", stage: str) -> None:
        """Know of no checkpoint yet."""
        self._stored = None

    def on_save_checkpoint(
        self, trainer: "pl.Trainer", pl_module: "pl.LightningModule", checkpoint: dict[str, Any]
    ) -> None:
        """Add what was seen to a checkpoint: a part a callback of this kind, in their order."""
        checkpoint.setdefault(KEY, []).append(self._follower.state())

    def on_load_checkpoint(
        self, trainer: "pl.Trainer", pl_module: "pl.LightningModule", checkpoint: dict[str, Any]
    ) -> None:
        """Note what a checkpoint holds; only a training goes on from it, no test."""
        states = checkpoint.get(KEY, [])
        owner: Any = trainer  # the class does not declare its callbacks
        place = [c for c in owner.callbacks if isinstance(c, LightningLearningTime)].index(self)
        self._stored = states[place] if place < len(states) else {}

    def on_train_start(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        """Begin anew, or go on where a checkpoint, or this trainer, has left off."""
        done = trainer.current_epoch
        stored = self._follower.state() if self._stored is None else self._stored
        self._stored = None
        self._follower, missed = Follower.begun(done, self.every, stored)
        if missed:
            self._look(trainer, pl_module, done)

    def on_train_epoch_end(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        """Look at all training examples."""
        epoch = trainer.current_epoch + 1
        if epoch % self.every == 0:
            self._look(trainer, pl_module, epoch)
            pl_module.log_dict(self._follower.logged)

    def _look(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule", epoch: int) -> None:
        def predict(module: Any, batch: Any) -> tuple[Tensor, Tensor]:
            precision = trainer.precision_plugin
            batch = precision.convert_input(batch)
            moved = trainer.strategy.batch_to_device(batch, module.device)
            with precision.forward_context():
                return self._predict(module, moved)

        loader = _one_loader(trainer.train_dataloader)
        self._follower.look(pl_module, loader, predict, epoch, self._dataset)


def _one_loader(loader: Any) -> DataLoader:
    """Require one training loader."""
    if not isinstance(loader, DataLoader):
        raise ValueError(
            "`train_dataloader` must be one torch DataLoader, for its examples to be followed; got "
            f"a {type(loader).__name__}. Train on one loader."
        )
    return loader


def _call(module: Any, batch: Any) -> tuple[Tensor, Tensor]:
    if not isinstance(batch, list | tuple) or len(batch) != 2:
        raise ValueError(
            "`batch` must be a pair (inputs, labels), for its examples to be followed; got a "
            f"{type(batch).__name__}. Give a `predict` of your own."
        )
    return module(batch[0]), batch[1]
