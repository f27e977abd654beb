"""When one run ends, and as what."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from torch import Tensor

from ._recipe import Recipe

Status = Literal["fitted", "stopped", "diverged", "interrupted"]
Row = dict[str, float]
AnyRow = TypeVar("AnyRow", bound=Mapping[Any, Any])


@dataclass
class Stopper:
    """The stopping rules of one run, fed a row of its history at a time.

    Attributes:
        recipe: Where the rules stand.
        best_train: Smallest train loss so far, from epoch 1 on, and its epoch.
        best_held_out: Smallest held-out loss so far, from epoch 1 on, and its epoch.
    """

    recipe: Recipe
    best_train: tuple[float, int] = (math.inf, 0)
    best_held_out: tuple[float, int] = (math.inf, 0)

    def __call__(self, row: Row) -> tuple[Status, str] | None:
        """Return status and reason if the run ends at this row, else None."""
        recipe, epoch = self.recipe, int(row["epoch"])
        accuracy, loss = row["train_accuracy"], row["train_loss"]
        if not math.isfinite(loss):
            return "diverged", f"The train loss is {loss} after step {int(row['step'])}."
        self._remember(row, epoch)
        if recipe.stop_at_accuracy is not None and accuracy >= recipe.stop_at_accuracy:
            return "fitted", f"Train accuracy {accuracy:.4f} reached at epoch {epoch}."
        if recipe.stop_at_loss is not None and loss <= recipe.stop_at_loss:
            return "fitted", f"Train loss {loss:.4g} reached at epoch {epoch}."
        return self._plateau(epoch) or self._end(accuracy, epoch)

    @property
    def best_epoch(self) -> int:
        """The epoch whose parameters are returned, of a recipe that asks for the best."""
        held_out = self.recipe.early_stopping is not None
        return (self.best_held_out if held_out else self.best_train)[1]

    def _remember(self, row: Row, epoch: int) -> None:
        if row["train_loss"] < self.best_train[0]:
            self.best_train = (row["train_loss"], epoch)
        if self.recipe.early_stopping is not None and row["held_out_loss"] < self.best_held_out[0]:
            self.best_held_out = (row["held_out_loss"], epoch)

    def _plateau(self, epoch: int) -> tuple[Status, str] | None:
        recipe = self.recipe
        if recipe.patience is not None and epoch - self.best_train[1] >= recipe.patience:
            return "stopped", f"The train loss has not improved since epoch {self.best_train[1]}."
        if recipe.early_stopping is None:
            return None
        if epoch - self.best_held_out[1] >= recipe.early_stopping:
            best = self.best_held_out[1]
            return "stopped", f"The held-out loss has not improved since epoch {best}."
        return None

    def _end(self, accuracy: float, epoch: int) -> tuple[Status, str] | None:
        if epoch < self.recipe.epochs:
            return None
        targets = (self.recipe.stop_at_accuracy, self.recipe.stop_at_loss)
        if targets == (None, None) and accuracy == 1:
            return "fitted", f"Every training example is right after {epoch} epochs."
        return "stopped", f"All {epoch} epochs are done."


def kept_row(rows: Sequence[AnyRow], recipe: Recipe) -> AnyRow:
    """Return the row of a history that measured the network that the run keeps.

    That is the one with the least held-out loss where the recipe has `early_stopping`, with the
    least train loss where it has `patience`, after training began; else the last.
    """
    if recipe.early_stopping is recipe.patience is None:
        return rows[-1]
    column = "train_loss" if recipe.early_stopping is None else "held_out_loss"
    after = (row for row in rows if row["epoch"] > 0 and math.isfinite(row["train_loss"]))
    known = [row for row in after if row[column] < math.inf]
    return min(known, key=lambda row: row[column]) if known else rows[-1]


def not_finite(losses: Tensor, *, first: int) -> dict[int, tuple[Status, str]]:
    """Return, by place, the lanes whose loss [t, l] stopped being finite; step `first` is row 0."""
    bad = ~losses.isfinite()
    steps = first + bad.int().argmax(0)
    return {
        place: ("diverged", f"The loss is not finite at step {int(steps[place])}.")
        for place in bad.any(0).nonzero().flatten().tolist()
    }
