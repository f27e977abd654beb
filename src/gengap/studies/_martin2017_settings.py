"""What is computed and trained at each scale of Martin and Mahoney (2017)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, final

from gengap.lab import Model
from gengap.training import Recipe

Scale = Literal["smoke", "small", "paper"]
LOADS = (0.25, 0.5, 0.75, 1.0, 1.125, 1.25, 1.375, 1.5, 1.75, 2.0, 2.5, 3.0)
"""Loads of the finite perceptrons."""
CURVE = tuple(k / 50 for k in range(10, 151))
"""Loads of the annealed curves."""
TEMPERATURES = tuple(k / 20 for k in range(41))
PRODUCTS = {5.0: 0.776, 20.0: 0.946, 100.0: 0.990}
"""Load to error times load of continuous students."""
PROBABILITY = 0.05
"""With which a student that fits may exceed the bound of finite perceptrons."""
TRANSITION, SPINODAL = 1.448, 1.730


@final
@dataclass(frozen=True, kw_only=True)
class Settings:
    """One scale.

    Attributes:
        data: Name of the data set.
        examples: Training examples.
        test_examples: Test examples; None takes all.
        noise: Probabilities with which labels are redrawn, against `epochs`.
        epochs: Stopping times.
        hidden: Width of the network whose labels are redrawn.
        width: Widths, against `batch_size`.
        batch_size: Batch sizes.
        recipe: How all of them are trained.
        long: Epochs of training where widths are compared.
        steps: Steps of training of each Bezier curve.
        samples: Weights of finite perceptrons to their number of samples.
        seeds: Two for each pair.
    """

    data: str
    examples: int
    test_examples: int | None
    noise: tuple[float, ...]
    epochs: tuple[int, ...]
    hidden: int
    width: tuple[int, ...]
    batch_size: tuple[int, ...]
    long: int
    steps: int
    samples: Mapping[int, int]
    recipe: Recipe = field(default_factory=lambda: Recipe(batch_size=32, lr=0.05, momentum=0.9))
    seeds: tuple[int, ...] = (0, 1, 2, 3)


SETTINGS: dict[str, Settings] = {
    "smoke": Settings(
        data="digits",
        examples=200,
        test_examples=None,
        noise=(0.0, 0.4),
        epochs=(2, 40),
        hidden=32,
        width=(4, 32),
        batch_size=(20, 100),
        long=40,
        steps=30,
        samples={7: 60, 10: 60},
    ),
    "small": Settings(
        data="mnist",
        examples=500,
        test_examples=2000,
        noise=(0.0, 0.2, 0.4, 0.6),
        epochs=(2, 8, 30, 100),
        hidden=64,
        width=(4, 12, 48, 192),
        batch_size=(10, 50, 250),
        long=60,
        steps=200,
        samples={9: 400, 13: 200, 17: 100, 21: 20},
    ),
    "paper": Settings(
        data="mnist",
        examples=5000,
        test_examples=None,
        noise=(0.0, 0.1, 0.2, 0.4, 0.6, 0.8),
        epochs=(1, 3, 10, 30, 100, 300),
        hidden=512,
        width=(4, 16, 64, 256, 1024),
        batch_size=(8, 32, 128, 512),
        long=200,
        steps=2000,
        samples={9: 2000, 13: 1000, 17: 400, 21: 100, 23: 30},
        seeds=(0, 1, 2, 3, 4, 5),
    ),
}


def network(width: int) -> Model:
    """Return a perceptron of one hidden layer."""
    options: dict[str, Any] = {"hidden": (width,)}
    return Model.named("mlp", **options)
