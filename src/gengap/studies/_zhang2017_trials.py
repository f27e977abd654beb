"""The rows of Zhang et al. (2017), with the paper's numbers, and the trials that repeat them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, final

from gengap.corruptions import (
    Corruption,
    GaussianPixels,
    RandomLabels,
    RandomPixels,
    ShuffledPixels,
)
from gengap.data import Augmentation
from gengap.lab import Data, Model, Trial
from gengap.training import Exponential, Recipe

Scale = Literal["smoke", "small", "paper"]

WEIGHT_DECAY = 5e-4
RANDOM = RandomLabels(probability=1.0)
CROP = Augmentation(random_crop=True)


@final
@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of table 1 or table 4 and the paper's accuracies, in percent.

    Attributes:
        table: The paper's table.
        name: The network, as the paper calls it.
        model: The library's name of it.
        options: Options of its builder.
        labels: "true" or "random".
        augmentation: None, "crop", or "flip and rotation".
        weight_decay: Whether weight decay is on.
        train: The paper's train accuracy; None where training did not converge.
        test: The paper's test accuracy; None where it gives none.
    """

    table: int = 1
    name: str
    model: str
    options: tuple[tuple[str, object], ...] = ()
    labels: Literal["true", "random"] = "true"
    augmentation: Literal["crop", "flip and rotation"] | None = None
    weight_decay: bool = False
    train: float | None
    test: float | None = None

    @property
    def convolutional(self) -> bool:
        """Whether the network convolves."""
        return self.model != "mlp"


def _rows() -> tuple[Row, ...]:
    inception: dict[str, Any] = {"name": "Inception", "model": "small_inception"}
    plain: dict[str, Any] = {
        "name": "Inception w/o BatchNorm",
        "model": "small_inception",
        "options": (("batch_norm", False),),
    }
    alexnet: dict[str, Any] = {"name": "Alexnet", "model": "small_alexnet"}
    mlp3: dict[str, Any] = {
        "name": "MLP 3x512",
        "model": "mlp",
        "options": (("hidden", (512, 512, 512)),),
    }
    mlp1: dict[str, Any] = {"name": "MLP 1x512", "model": "mlp", "options": (("hidden", (512,)),)}
    crop: dict[str, Any] = {"augmentation": "crop"}
    turned: dict[str, Any] = {"augmentation": "flip and rotation"}
    decay: dict[str, Any] = {"weight_decay": True}
    random: dict[str, Any] = {"labels": "random"}
    table_1 = [
        (inception, {**crop, **decay}, 100.0, 89.05),
        (inception, crop, 100.0, 89.31),
        (inception, decay, 100.0, 86.03),
        (inception, {}, 100.0, 85.75),
        (inception, random, 100.0, 9.78),
        (plain, decay, 100.0, 83.00),
        (plain, {}, 100.0, 82.00),
        (plain, random, 100.0, 10.12),
        (alexnet, {**crop, **decay}, 99.90, 81.22),
        (alexnet, crop, 99.82, 79.66),
        (alexnet, decay, 100.0, 77.36),
        (alexnet, {}, 100.0, 76.07),
        (alexnet, random, 99.82, 9.86),
        (mlp3, decay, 100.0, 53.35),
        (mlp3, {}, 100.0, 52.39),
        (mlp3, random, 100.0, 10.48),
        (mlp1, decay, 99.80, 50.39),
        (mlp1, {}, 100.0, 50.51),
        (mlp1, random, 99.34, 10.61),
    ]
    table_4 = [
        (inception, decay, 100.0),
        (alexnet, decay, None),
        (mlp3, decay, 100.0),
        (mlp1, decay, 99.21),
        (inception, crop, 99.93),
        (inception, turned, 99.28),
    ]
    return (
        *(Row(**net, **how, train=train, test=test) for net, how, train, test in table_1),
        *(Row(table=4, **net, **random, **how, train=train) for net, how, train in table_4),
    )


ROWS = _rows()

DATA_SETS: dict[str, Corruption | None] = {
    "true labels": None,
    "random labels": RANDOM,
    "shuffled pixels": ShuffledPixels(),
    "random pixels": RandomPixels(),
    "gaussian": GaussianPixels(),
}
LEVELS = (0.2, 0.4, 0.6, 0.8)


def runs_at(row: Row, scale: Scale) -> bool:
    """Return whether a row is run at a scale: what would take hours waits for a GPU."""
    if scale == "paper":
        return True
    if scale == "smoke":
        return not row.convolutional
    slow = row.model == "small_inception" and (row.weight_decay or row.augmentation is not None)
    return not slow


def data(row: Row, scale: Scale) -> Data:
    """Return the data of a row: all of CIFAR-10, or what a scale affords."""
    if scale == "smoke":
        return Data.named("digits", examples=800)
    if scale == "small" and row.convolutional:
        return Data.named("cifar-10", examples=2000, test_examples=2000)
    return Data.named("cifar-10")


def recipe(row: Row, scale: Scale) -> Recipe:
    """Return the paper's recipe for a row.

    Momentum 0.9, learning rate 0.1 for Inception and 0.01 for the others, times 0.95 an epoch.
    Inception without BatchNorm takes 0.005, reached over 150 steps: see `small_inception`.
    On a subset the schedule keeps the paper's steps, 390 a decay. Batch size, epochs and the
    coefficient of weight decay are not in the paper: 128, 100 and 5e-4. A run ends at a train
    accuracy that the paper would print as 100.0.
    """
    subset = scale == "smoke" or (scale == "small" and row.convolutional)
    base = Recipe(
        epochs=100,
        batch_size=128,
        lr=0.1 if row.model == "small_inception" else 0.01,
        momentum=0.9,
        schedule=Exponential(rate=0.95, every=390 if subset else None),
        weight_decay=WEIGHT_DECAY if row.weight_decay else 0.0,
        stop_at_accuracy=1.0 if scale == "smoke" else 0.9995,
        evaluate_every=2 if scale == "small" and row.model == "small_inception" else 1,
    )
    if dict(row.options).get("batch_norm") is False:
        base = replace(base, lr=0.005, warmup_steps=150)
        if subset:
            base = replace(base, epochs=200, evaluate_every=4)
    if row.augmentation is not None:
        # The changed images are new in every epoch: a slower decay and more epochs (appendix E).
        rotation = Augmentation(random_crop=False, flip=True, rotation=25.0)
        augmentation = CROP if row.augmentation == "crop" else rotation
        base = replace(base, augmentation=augmentation)
        if row.labels == "random":
            base = replace(base, epochs=300, schedule=Exponential(rate=0.999))
    return replace(base, lr=0.05) if scale == "smoke" else base


def trial(row: Row, scale: Scale, seed: int) -> Trial:
    """Return a row's trial."""
    return Trial(
        data=data(row, scale),
        model=Model.named(row.model, **dict(row.options)),
        corruption=RANDOM if row.labels == "random" else None,
        recipe=recipe(row, scale),
        seed=seed,
    )


def figure_rows(scale: Scale) -> tuple[Row, ...]:
    """Return the networks of figure 1, as rows without regularizers: at smoke scale the MLP."""
    bare = [row for row in ROWS if row.table == 1 and row.labels == "true"]
    bare = [row for row in bare if not row.weight_decay and row.augmentation is None]
    names = {
        "smoke": ("MLP 1x512",),
        "small": ("Alexnet", "MLP 1x512"),
        "paper": ("Inception", "Alexnet", "MLP 1x512"),
    }[scale]
    return tuple(row for name in names for row in bare if row.name == name)


def figure_trial(row: Row, corruption: Corruption | None, scale: Scale, seed: int) -> Trial:
    """Return a trial of figure 1; at small scale on 2,000 images, for every network."""
    made = trial(row, scale, seed)
    if scale == "small":
        small = replace(row, model="small_alexnet")
        made = replace(
            made,
            data=data(small, scale),
            recipe=replace(made.recipe, schedule=Exponential(rate=0.95, every=390)),
        )
    return replace(made, corruption=corruption)


def figure_corruptions() -> dict[str, Corruption | None]:
    """Return the data sets of figure 1 and its levels of corruption, by name."""
    levels = {f"labels redrawn with p={p}": RandomLabels(probability=p) for p in LEVELS}
    return {**DATA_SETS, **levels}


def seeds_of(
    row: Row, scale: Scale, seeds: Sequence[int], *, figure: bool = False
) -> Sequence[int]:
    """Return the seeds of a row, or of the row's network in figure 1.

    At small scale convolutional networks take the first only, so that they fit in about an hour of
    two cores; the bare Alexnet of table 1 takes all.
    """
    if scale != "small" or not row.convolutional:
        return seeds
    regularized = row.weight_decay or row.augmentation is not None
    if row.model == "small_alexnet" and not regularized and not figure:
        return seeds
    return seeds[:1]
