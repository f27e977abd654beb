"""What training gives back."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from torch import nn

from ._recipe import Recipe
from ._stopping import Row, Status

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "epoch",
    "step",
    "lr",
    "train_loss",
    "train_accuracy",
    "clean_accuracy",
    "corrupted_accuracy",
    "test_loss",
    "test_accuracy",
    "seconds",
)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """One training run: how it went and what came out.

    Attributes:
        status: "fitted" (the target, or every training example, was reached), "stopped" (epochs
            used up, a plateau, or early stopping), "diverged" or "interrupted".
        reason: One sentence on why it ended.
        rows: The history, a row an evaluated epoch; epoch 0 is before training.
        model: The trained network, in evaluation mode, on the CPU.
        recipe: How it was trained.
        seed: Root of its draws.
    """

    status: Status
    reason: str
    rows: list[Row] = field(repr=False)
    model: nn.Module = field(repr=False)
    recipe: Recipe = field(repr=False)
    seed: int

    @property
    def history(self) -> "pd.DataFrame":
        """The history as a frame: losses in nats, accuracies in [0, 1], seconds of training.

        `clean_accuracy` counts training examples that no corruption changed,
        `corrupted_accuracy` the changed ones against their new label; NaN where there are none.
        """
        import pandas as pd

        columns = [*COLUMNS, *(name for name in self.rows[0] if name not in COLUMNS)]
        return pd.DataFrame(self.rows, columns=columns).astype({"epoch": int, "step": int})

    @property
    def final(self) -> Row:
        """The last row of the history."""
        return self.rows[-1]

    @property
    def epochs(self) -> int:
        """Epochs trained."""
        return int(self.final["epoch"])

    @property
    def steps(self) -> int:
        """Steps taken."""
        return int(self.final["step"])

    def epochs_to_fit(self, accuracy: float = 1.0) -> int | None:
        """Return the first epoch with at least this train accuracy, or None."""
        reached = (row["epoch"] for row in self.rows if row["train_accuracy"] >= accuracy)
        return next((int(epoch) for epoch in reached), None)
