"""What training gives back."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from torch import nn

from ._probed import Probed
from ._recipe import Recipe
from ._stopping import Row, Status, kept_row

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


_SHOWN = 12


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """One training run: how it went and what came out.

    Attributes:
        status: "fitted" (the target, or every training example, was reached), "stopped" (epochs
            used up, a plateau, or early stopping), "diverged" or "interrupted".
        reason: One sentence on why it ended.
        rows: The history, a row an evaluated epoch; epoch 0 is before training.
        model: The trained network, in evaluation mode, on the CPU: that of the last epoch, or of
            the best, where the recipe has `early_stopping` or `patience`.
        recipe: How it was trained.
        seed: Root of its draws.
        probed: What its probes measured; None without probes.
    """

    status: Status
    reason: str
    rows: list[Row] = field(repr=False)
    model: nn.Module = field(repr=False)
    recipe: Recipe = field(repr=False)
    seed: int
    probed: Probed | None = field(default=None, repr=False)

    @property
    def history(self) -> "pd.DataFrame":
        """The history as a frame: losses in nats, accuracies in [0, 1], seconds of training.

        Columns: `epoch`, `step`, `lr`, `train_loss`, `train_accuracy`, `clean_accuracy`,
        `corrupted_accuracy`, `test_loss`, `test_accuracy`, `seconds`, and what was asked for.
        `clean_accuracy` counts training examples that no corruption changed,
        `corrupted_accuracy` the changed ones against their new label; NaN where there are none.
        """
        import pandas as pd

        columns = [*COLUMNS, *(name for name in self.rows[0] if name not in COLUMNS)]
        return pd.DataFrame(self.rows, columns=columns).astype({"epoch": int, "step": int})

    @property
    def coherence(self) -> "pd.DataFrame":
        """The m-coherence of the probe sample: a row a measurement, layer and group.

        Columns: `epoch` (epochs done), `step`, `layer` ("" is the whole network), `group` ("all",
        "clean", "corrupted"), `examples` of the group in the sample, `m_coherence` (in [0,
        examples]), `alpha`, which is m-coherence over examples, `share` of the gradient that is
        the group's (`GroupCoherence.shares`), and the group's mean `loss`.

        Raises:
            ValueError: The run was not asked for it.
        """
        return self._frame("coherence", "Probes(coherence=1000)")

    @property
    def null_worlds(self) -> "pd.DataFrame":
        """The gradient's share of examples designated by chance: a row a measurement and world.

        Columns: `epoch`, `step`, `world` (0 to `Probes.null_worlds` - 1, the same examples at every
        measurement) and `share`, the whole network's gradient's part of as many examples, drawn
        at random, as are clean in the sample. Without both clean and corrupted examples no rows.

        Raises:
            ValueError: The run was not asked for it.
        """
        return self._frame("null_worlds", "Probes(coherence=1000, null_worlds=20)")

    @property
    def examples(self) -> "pd.DataFrame":
        """What became of the training examples: a row an example, in the order of the split.

        Columns: `example` (its row in the split), `changed` by a corruption, `first_learned` (the
        first evaluated epoch at which it is right; NaN if never), `last_learned` (the evaluated
        epoch since when it has been right; NaN if wrong at the end), `forgotten` (times it went
        from right to wrong); over the evaluated epochs the means `margin` (its logit minus the
        largest other), `mean_loss` (nats) and `confidence` (probability of its label), and the
        other class `suggested` of the largest mean probability, `suggested_confidence`; `loss`
        and `correct` at the last of them. Epoch 0 counts only for those two.

        Raises:
            ValueError: The run was not asked for it.
        """
        return self._frame("examples", "Probes(examples=True)")

    def _frame(self, name: str, hint: str) -> "pd.DataFrame":
        frames = self.probed.frames() if self.probed else {}
        if name not in frames:
            raise ValueError(
                f"`{name}` must be asked for before training; got no such probe. Train with "
                f"`probes={hint}`."
            )
        return frames[name]

    def _repr_html_(self) -> str:
        from html import escape

        words = f"{self.status} after {self.epochs} epochs, {self.steps:,} steps: {self.reason}"
        shown = self.history.dropna(axis=1, how="all")
        shown = shown if len(shown) <= _SHOWN else shown.iloc[[*range(5), *range(-5, 0)]]
        table = shown.to_html(index=False, float_format="{:.4g}".format, border=0)
        return f"<p>{escape(words)}</p>{table}"

    @property
    def final(self) -> Row:
        """The last row of the history, with which training ended; `kept` may be an earlier one."""
        return self.rows[-1]

    @property
    def kept(self) -> Row:
        """The row of the history that measured `model`.

        The last one, but where the recipe has `early_stopping` or `patience`: then that of the
        best epoch. A run that diverged before any such epoch has none, and the last is returned.
        """
        return kept_row(self.rows, self.recipe)

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
