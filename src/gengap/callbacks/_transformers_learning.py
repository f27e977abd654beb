"""When each training example is learned, in the logs of the Transformers trainer."""

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gengap._checks import check_count

from ._learning import Follower, Predict

if TYPE_CHECKING:
    import pandas as pd


class TransformersLearningTime(TrainerCallback):
    """Follows every training example: when it is learned, how clearly, whether it is forgotten.

    For models that give each example one label, such as those for sequence or image
    classification. At the end of an epoch the model, in evaluation mode, goes over all training
    examples once; `learned` (share of the examples that were right at one such time) and
    `forgetting_events` are added to the next logs. `examples` is what `Run.examples` is, so that
    `gengap.memorization.example_scores` and `rank_labels` take it. Examples are counted as the
    data set does.

    Cost: a forward pass over the training examples, every so many epochs.

    Args:
        every: Epochs between two looks.
        dataset: The examples; None takes those of the training loader.
        predict: Model and batch to logits [b, c] and labels [b]; None calls the model on the
            batch without its `labels` and takes `logits`.
    """

    def __init__(
        self, *, every: int = 1, dataset: Dataset | None = None, predict: Predict | None = None
    ) -> None:
        """Set how often to look, at what, and how."""
        check_count("every", every)
        self.every, self._dataset, self._predict = every, dataset, predict or _call
        self._follower = Follower()
        self._epochs = 0

    @property
    def examples(self) -> "pd.DataFrame":
        """A row an example; the columns are those of `gengap.Run.examples`."""
        return self._follower.examples

    def on_epoch_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        train_dataloader: DataLoader | None = None,
        **kwargs: Any,
    ) -> None:
        """Look at all training examples."""
        self._epochs += 1
        if self._epochs % self.every or model is None or train_dataloader is None:
            return
        device = next(model.parameters()).device

        def predict(model: Any, batch: Any) -> tuple[Tensor, Tensor]:
            moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
            return self._predict(model, moved)

        self._follower.look(model, train_dataloader, predict, self._epochs, self._dataset)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Add what the latest look found to what is logged."""
        if self._follower.logged and logs is not None and {"loss", "train_loss"} & logs.keys():
            logs.update(self._follower.logged)
            if state.log_history:
                state.log_history[-1].update(self._follower.logged)


def _call(model: Any, batch: Any) -> tuple[Tensor, Tensor]:
    if "labels" not in batch:
        raise ValueError(
            f"`batch` must hold `labels`, for its examples to be followed; got {', '.join(batch)}. "
            "Give a `predict` of your own."
        )
    logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits
    return logits, batch["labels"]
