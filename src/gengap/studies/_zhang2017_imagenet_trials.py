"""The rows of table 2 of Zhang et al. (2017), and what they train at each scale."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

from torch import nn

from gengap.corruptions import RandomLabels
from gengap.data import Augmentation, Split
from gengap.lab import Data, Model, Trial
from gengap.models import is_outside
from gengap.training import Cosine, Probes, Recipe

from ._gather import Entry
from ._zhang2017_imagenet_data import imagenet, synthetic

Scale = Literal["smoke", "paper"]
TOP = 5


@final
@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of table 2: what is trained, and the paper's accuracies in percent.

    Attributes:
        labels: "true" or "random".
        augmentation: Whether images are changed at random.
        dropout: Whether inputs of the last layer are dropped.
        weight_decay: Whether there is any.
        train: Top-1 and top-5 accuracy on the training images.
        test: Top-1 and top-5 accuracy on the validation images, at the end.
        best: The best of them during training, where the paper gives it.
    """

    labels: str
    augmentation: bool
    dropout: bool
    weight_decay: bool
    train: tuple[float, float]
    test: tuple[float, float]
    best: tuple[float, float] | None = None

    @property
    def regularizers(self) -> str:
        """What is switched on, in words."""
        on = {
            "augmentation": self.augmentation,
            "dropout": self.dropout,
            "weight decay": self.weight_decay,
        }
        return ", ".join(name for name, used in on.items() if used) or "none"


def _row(
    labels: str,
    used: tuple[bool, bool, bool],
    train: tuple[float, float],
    test: tuple[float, float],
    best: tuple[float, float] | None = None,
) -> Row:
    return Row(
        labels=labels,
        augmentation=used[0],
        dropout=used[1],
        weight_decay=used[2],
        train=train,
        test=test,
        best=best,
    )


ROWS = (
    _row("true", (True, True, True), (92.18, 99.21), (77.84, 93.92)),
    _row("true", (True, False, False), (92.33, 99.17), (72.95, 90.43)),
    _row("true", (False, False, True), (90.60, 100.0), (67.18, 86.44), (72.57, 91.31)),
    _row("true", (False, False, False), (99.53, 100.0), (59.80, 80.38), (63.16, 84.49)),
    _row("random", (False, True, True), (91.18, 97.95), (0.09, 0.49)),
    _row("random", (False, False, True), (87.81, 96.15), (0.12, 0.50)),
    _row("random", (False, False, False), (95.20, 99.14), (0.11, 0.56)),
)


@final
@dataclass(frozen=True, kw_only=True)
class Plan:
    """One scale.

    Attributes:
        model: Name of the network, and its options; it drops out half unless told otherwise.
        options: Options of the network.
        classes: Classes of the data.
        num_test: Validation images.
        epochs: Passes over the training images.
        batch_size: Images a step, over all devices.
        lr: Learning rate after the warm-up.
        warmup_steps: Steps of the warm-up.
        weight_decay: Its coefficient where it is on.
        evaluate_every: Epochs between evaluations.
        precision: Of the forward pass.
    """

    model: str
    options: dict[str, Any]
    classes: int
    num_test: int
    epochs: int
    batch_size: int
    lr: float
    warmup_steps: int
    weight_decay: float
    evaluate_every: int
    precision: Literal["float32", "bfloat16"]

    def recipe(self, row: Row) -> Recipe:
        """Return how a row is trained."""
        return Recipe(
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            momentum=0.9,
            warmup_steps=self.warmup_steps,
            schedule=Cosine(),
            weight_decay=self.weight_decay if row.weight_decay else 0.0,
            dropout=None if row.dropout else 0.0,
            augmentation=Augmentation(random_crop=True, flip=True) if row.augmentation else None,
            evaluate_every=self.evaluate_every,
            precision=self.precision,
        )


PLANS: dict[Scale, Plan] = {
    "smoke": Plan(
        model="small_alexnet",
        options={"dropout": 0.1},
        classes=4,
        num_test=32,
        epochs=30,
        batch_size=16,
        lr=0.02,
        warmup_steps=4,
        weight_decay=1e-3,
        evaluate_every=3,
        precision="float32",
    ),
    "paper": Plan(
        model="torchvision:inception_v3",
        options={"dropout": 0.5},
        classes=1000,
        num_test=50_000,
        epochs=100,
        batch_size=1024,
        lr=0.4,
        warmup_steps=6260,
        weight_decay=4e-5,
        evaluate_every=5,
        precision="bfloat16",
    ),
}


def data(scale: Scale, folder: Path) -> Data:
    """Return the images of a scale; synthetic ones are kept in `folder`."""
    if scale == "paper":
        return imagenet(size=331, crop=299)
    plan = PLANS[scale]
    return synthetic(
        folder / "synthetic-images",
        classes=plan.classes,
        train=12,
        test=plan.num_test // plan.classes,
        size=20,
        crop=16,
    )


def entries(scale: Scale, seeds: Sequence[int], folder: Path) -> list[Entry]:
    """Return the trials of a scale."""
    plan, images = PLANS[scale], data(scale, folder)
    return [
        Entry(
            trial=Trial(
                data=images,
                model=_model(plan),
                recipe=plan.recipe(row),
                corruption=RandomLabels(probability=1.0) if row.labels == "random" else None,
                seed=seed,
                probes=Probes(top=TOP),
            ),
            place={"row": place, "labels": row.labels, "regularizers": row.regularizers},
        )
        for place, row in enumerate(ROWS)
        for seed in seeds
    ]


def _model(plan: Plan) -> Model:
    """Return the network; that of another library is looked for only when it is trained."""
    if not is_outside(plan.model):
        return Model.named(plan.model, **plan.options)

    def builder(split: Split) -> Callable[[], nn.Module]:
        return Model.named(plan.model, **plan.options).builder(split)

    return Model({"name": plan.model, "options": plan.options}, builder)
