"""When each training example is learned, in the logs of the Transformers trainer."""

import math
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gengap._checks import check_count

from ._as_json import read, written
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
    data set does. A last epoch that `max_steps` cuts short counts as one.

    `trainer_state.json` of a checkpoint holds what was seen, as text and whatever
    `restore_callback_states_from_checkpoint` says, so that `train(resume_from_checkpoint=...)` goes
    on and has the table of a training that was not interrupted; from a checkpoint without it, or
    of other examples, it warns and begins anew. Any other `train()` begins anew. Several of one
    `every` on one trainer are told apart by their order.

    Cost: a forward pass over the training examples, every so many epochs. A checkpoint grows by
    about 30 + 5 c bytes an example of c classes.

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
        self._follower, self._seat = Follower(), 0

    @property
    def examples(self) -> "pd.DataFrame":
        """A row an example; the columns are those of `gengap.Run.examples`."""
        return self._follower.examples

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        train_dataloader: DataLoader | None = None,
        **kwargs: Any,
    ) -> None:
        """Begin anew, or go on where a checkpoint has left off."""
        self._seat = _next_seat(state, self._key_of(0))
        stored = read(_states(state).pop(self._key, {}))
        self._follower, missed = Follower.begun(state.epoch or 0, self.every, stored)
        if missed:
            self._look(model, train_dataloader, int(state.epoch))
        self._keep(state)

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
        epoch = math.ceil(state.epoch)
        if epoch % self.every == 0:
            self._look(model, train_dataloader, epoch)
            self._keep(state)

    def _look(self, model: nn.Module | None, loader: DataLoader | None, epoch: int) -> None:
        if model is None or loader is None:
            return
        device = next(model.parameters()).device

        def predict(model: Any, batch: Any) -> tuple[Tensor, Tensor]:
            moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
            return self._predict(model, moved)

        self._follower.look(model, loader, predict, epoch, self._dataset)

    @property
    def _key(self) -> str:
        """The place of its own in the trainer's state.

        Under the name of the class, with `restore_callback_states_from_checkpoint`, the trainer
        would put a new callback in this one's place, without its `dataset` and `predict`.
        """
        return self._key_of(self._seat)

    def _key_of(self, seat: int) -> str:
        number = f"#{seat + 1}" if seat else ""
        return f"gengap.{type(self).__name__}(every={self.every}){number}"

    def _keep(self, state: TrainerState) -> None:
        """Put what was seen where the trainer's checkpoints are made of."""
        if found := self._follower.state():
            _states(state)[self._key] = written(found)

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


def _states(state: TrainerState) -> dict[str, Any]:
    """Return what the checkpoints hold of callbacks; the annotation of Transformers is another."""
    found: Any = state.stateful_callbacks
    return found


def _next_seat(state: TrainerState, kind: str) -> int:
    """Count the callbacks of a kind that begin one training, which has a state of its own."""
    seats: dict[str, int] = vars(state).setdefault("_gengap_seats", {})
    seats[kind] = seats.get(kind, -1) + 1
    return seats[kind]


def _call(model: Any, batch: Any) -> tuple[Tensor, Tensor]:
    if "labels" not in batch:
        raise ValueError(
            f"`batch` must hold `labels`, for its examples to be followed; got {', '.join(batch)}. "
            "Give a `predict` of your own."
        )
    logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits
    return logits, batch["labels"]
