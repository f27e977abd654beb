"""When each training example is learned, in the logs of a Lightning trainer."""

from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gengap._checks import check_count

from ._learning import Follower, Predict

if TYPE_CHECKING:
    import pandas as pd


class LightningLearningTime(pl.Callback):
    """Follows every training example: when it is learned, how clearly, whether it is forgotten.

    At the end of an epoch the network, in evaluation mode, goes over all training examples once;
    `learned` (share of the examples that were right at one such time) and `forgetting_events`
    are logged. `examples` is what `Run.examples` is, so that `gengap.memorization.example_scores`
    and `rank_labels` take it. Examples are counted as the data set does; random transforms of it
    draw anew, so give one without them if there is one. Under several processes each goes over
    all examples.

    Cost: a forward pass over the training examples, every so many epochs.

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

    @property
    def examples(self) -> "pd.DataFrame":
        """A row an example; the columns are those of `gengap.Run.examples`."""
        return self._follower.examples

    def on_train_epoch_end(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        """Look at all training examples."""
        epoch = trainer.current_epoch + 1
        if epoch % self.every:
            return

        def predict(module: Any, batch: Any) -> tuple[Tensor, Tensor]:
            moved = trainer.strategy.batch_to_device(batch, module.device)
            return self._predict(module, moved)

        loader = _one_loader(trainer.train_dataloader)
        self._follower.look(pl_module, loader, predict, epoch, self._dataset)
        pl_module.log_dict(self._follower.logged)


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
