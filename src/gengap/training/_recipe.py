"""How to train: optimizer, schedule, batch size, stopping rule, regularizers."""

from dataclasses import dataclass, field, replace
from typing import Literal, final

from gengap._checks import (
    check_between,
    check_choice,
    check_non_negative,
    check_positive,
    check_probability,
    keep_counts,
)
from gengap.data import Augmentation
from gengap.optim import Regularizer, RobustMean

from ._schedules import Constant, Schedule

OptimizerName = Literal[
    "sgd",
    "adam",
    "adamw",
    "rmsprop",
    "winsorized_sgd",
    "trimmed_mean_sgd",
    "median_of_three",
    "rolling_median_of_three",
    "mean_of_three",
    "rolling_mean_of_three",
]
"""Optimizers that a recipe names."""
PLAIN = ("sgd", "adam", "adamw", "rmsprop")
WITH_MOMENTUM = ("sgd", "adam", "adamw")
OF_THREE = (
    *("median_of_three", "rolling_median_of_three", "mean_of_three"),
    "rolling_mean_of_three",
)
ROBUST = ("winsorized_sgd", "trimmed_mean_sgd")


class _Own(float):
    """A number that nobody chose: it follows the optimizer, through `replace` too."""


@final
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train: optimizer, schedule, batch size, stopping rule, regularizers.

    Attributes:
        epochs: Most passes over the training examples.
        batch_size: Examples a step; the last step of an epoch takes what is left.
        optimizer: "sgd", "adam", "adamw" or "rmsprop"; with the mean over a batch's examples
            replaced, in every coordinate, by a robust one, "winsorized_sgd" or
            "trimmed_mean_sgd"; with the gradient replaced by a combination of three consecutive
            ones, "median_of_three" and "mean_of_three" (an update in every third step),
            "rolling_median_of_three" and "rolling_mean_of_three" (in every step from the third
            on).
        lr: Learning rate at the start. Positive.
        momentum: Momentum of SGD and RMSprop, or beta 1 of Adam, in [0, 1). Where it is left out,
            0.9 for SGD and Adam and 0, as in the papers, for the others.
        nesterov: Nesterov's form of momentum; for SGD.
        beta2: Decay of the second moment of Adam and RMSprop, in [0, 1).
        eps: Added to the root of the second moment.
        clip_percent: Percentile c of winsorized_sgd and trimmed_mean_sgd, in [0, 50]: in every
            coordinate what lies outside the percentiles c and 100 - c of the batch is clipped, or
            left out. A c of at most 50 / (b - 1) clips nothing of a batch of b, so that the default
            of 1 clips nothing of batches up to 51: `fit` refuses that. 0 is plain SGD.
        schedule: Factor on the learning rate over the steps.
        warmup_steps: Steps over which the learning rate first rises linearly from near 0.
        loss: "cross_entropy" for classes, "squared_error" (mean over examples of half the
            squared distance) for real targets.
        weight_decay: L2 coefficient; added to the gradient, or taken from the parameters
            (adamw). At least 0.
        decay_first: Of combinations of three gradients: whether weight decay is added to each
            gradient before they are combined, as in the paper, or to what comes out.
        dropout: Probability for every dropout layer of the model; None leaves them alone.
        label_smoothing: Share of the target spread over all classes, in [0, 1].
        augmentation: Random changes of the training images, or None.
        regularizers: Penalties on what the network gives for a batch, such as `DARC1`.
        stop_at_accuracy: Stop as fitted once the train accuracy is at least this.
        stop_at_loss: Stop as fitted once the train loss is at most this.
        patience: Stop once the train loss has not improved for so many epochs, and return the
            parameters of the epoch with the least. Epochs count from 1: the network before its
            first step is never returned, even where training only made it worse.
        early_stopping: Stop once the loss on held-out examples has not improved for so many
            epochs, and return the parameters of that best epoch instead; from 1, too.
        held_out: Share of the training examples set aside for `early_stopping`.
        precision: "float32", or "bfloat16" for the forward pass.
        evaluate_every: Epochs between evaluations of the train and test halves.
    """

    epochs: int = 100
    batch_size: int = 128
    optimizer: OptimizerName = "sgd"
    lr: float = 0.1
    momentum: float = _Own(0.9)
    nesterov: bool = False
    beta2: float = 0.999
    eps: float = 1e-8
    clip_percent: float = 1.0
    schedule: Schedule = field(default_factory=Constant)
    warmup_steps: int = 0
    loss: Literal["cross_entropy", "squared_error"] = "cross_entropy"
    weight_decay: float = 0.0
    decay_first: bool = True
    dropout: float | None = None
    label_smoothing: float = 0.0
    augmentation: Augmentation | None = None
    regularizers: tuple[Regularizer, ...] = ()
    stop_at_accuracy: float | None = None
    stop_at_loss: float | None = None
    patience: int | None = None
    early_stopping: int | None = None
    held_out: float = 0.1
    precision: Literal["float32", "bfloat16"] = "float32"
    evaluate_every: int = 1

    def __post_init__(self) -> None:
        keep_counts(self, "epochs", "batch_size", "evaluate_every")
        keep_counts(self, "patience", "early_stopping", optional=True)
        keep_counts(self, "warmup_steps", least=0)
        check_choice("optimizer", self.optimizer, (*PLAIN, *ROBUST, *OF_THREE))
        if isinstance(self.momentum, _Own):
            object.__setattr__(self, "momentum", _Own(self.own_defaults()["momentum"]))
        check_between("clip_percent", self.clip_percent, 0, 50)
        check_choice("loss", self.loss, ("cross_entropy", "squared_error"))
        check_choice("precision", self.precision, ("float32", "bfloat16"))
        if isinstance(self.schedule, type) or not callable(self.schedule):
            raise ValueError(
                "`schedule` must be a schedule such as gengap.training.Cosine(); got "
                f"{self.schedule!r}."
            )
        if not (self.augmentation is None or isinstance(self.augmentation, Augmentation)):
            raise ValueError(
                f"`augmentation` must be an Augmentation or None; got {self.augmentation!r}."
            )
        check_positive("lr", self.lr)
        check_positive("eps", self.eps)
        for name in ("momentum", "beta2"):
            check_probability(name, getattr(self, name))
            if getattr(self, name) == 1:
                raise ValueError(f"`{name}` must be below 1; got 1.")
        check_non_negative("weight_decay", self.weight_decay)
        if not self.decay_first and self.optimizer not in OF_THREE:
            raise ValueError(
                "`decay_first` must be True but for combinations of three gradients; got "
                f"{self.decay_first!r} for {self.optimizer!r}."
            )
        check_probability("label_smoothing", self.label_smoothing)
        check_probability("held_out", self.held_out)
        for name in ("dropout", "stop_at_accuracy"):
            if getattr(self, name) is not None:
                check_probability(name, getattr(self, name))
        if not isinstance(self.regularizers, tuple) or not all(
            isinstance(one, Regularizer) for one in self.regularizers
        ):
            raise ValueError(
                "`regularizers` must be a tuple of regularizers such as "
                f"(DARC1(strength=0.01),); got {self.regularizers!r}."
            )
        if self.stop_at_loss is not None:
            check_non_negative("stop_at_loss", self.stop_at_loss)
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            raise ValueError(
                "`nesterov` goes with sgd and a momentum above 0; got "
                f"{self.optimizer!r} and {self.momentum!r}."
            )

    def own_defaults(self) -> dict[str, float]:
        """Return the defaults that depend on other fields; a trial's id leaves them out."""
        return {"momentum": 0.9 if self.optimizer in WITH_MOMENTUM else 0.0}

    @property
    def robust_mean(self) -> RobustMean | None:
        """The mean over a batch's examples, where it is not the plain one."""
        if self.optimizer not in ROBUST:
            return None
        kind = "winsorized" if self.optimizer == "winsorized_sgd" else "trimmed"
        return RobustMean(kind=kind, percent=self.clip_percent)  # type: ignore[arg-type]

    @property
    def regularizer_names(self) -> tuple[str, ...]:
        """Names of the explicit regularizers that are switched on."""
        on = {
            "weight decay": self.weight_decay > 0,
            "dropout": bool(self.dropout),
            "augmentation": self.augmentation is not None,
            "label smoothing": self.label_smoothing > 0,
            "early stopping": self.early_stopping is not None,
        }
        named = [name for name, value in on.items() if value]
        return (*named, *(regularizer.label for regularizer in self.regularizers))

    def without_regularizers(self) -> "Recipe":
        """Return the recipe with every explicit regularizer switched off."""
        return replace(
            self,
            weight_decay=0.0,
            dropout=0.0,
            label_smoothing=0.0,
            augmentation=None,
            regularizers=(),
            early_stopping=None,
        )
