"""The trained networks on which Dinh et al. (2017) is repeated."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

from torch import nn

from gengap.data import Split
from gengap.lab import Data, Model, Trial
from gengap.training import Recipe

from ._gather import Entry

Scale = Literal["smoke", "small", "paper"]


@final
@dataclass(frozen=True, kw_only=True)
class Network:
    """A network, and which parts of the paper are shown on it.

    Attributes:
        name: As in tables.
        network: What is trained.
        data: Name of the data set.
        examples: Training examples; None takes all.
        epochs: Epochs of training.
        scaled: Whether its rescalings by one factor are followed; else theorem 5 is shown on it.
        lr: Learning rate.
    """

    name: str
    network: Model
    data: str
    examples: int | None
    epochs: int
    scaled: bool
    lr: float = 0.1

    def trial(self, seed: int) -> Trial:
        """Return the trial that trains it."""
        return Trial(
            data=Data.named(self.data, examples=self.examples),
            model=self.network,
            recipe=Recipe(epochs=self.epochs, batch_size=50, lr=self.lr, momentum=0.9),
            seed=seed,
        )


def small_convolutions() -> Model:
    """Return a network of two convolutions, pooling between, small enough for a whole Hessian."""

    def build(split: Split) -> nn.Module:
        channels, height, width = split.input_shape
        assert split.num_classes is not None
        sides = (height // 2) * (width // 2)
        return nn.Sequential(
            nn.Conv2d(channels, 3, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(3, 4, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(4 * sides, split.num_classes),
        )

    spec = {"name": "two convolutions", "options": {"channels": [3, 4]}}
    return Model(spec, lambda split: functools.partial(build, split))


def networks(scale: Scale) -> list[Network]:
    """Return the networks of a scale; the whole Hessian is taken on the 8 x 8 digits always."""
    few: dict[str, Any] = {"data": "digits", "examples": 60, "epochs": 300, "lr": 0.02}
    whole = [
        Network(
            name="MLP 3x12",
            network=Model.named("mlp", hidden=(12, 12, 12)),
            scaled=False,
            **few,
        ),
        Network(name="two convolutions", network=small_convolutions(), scaled=False, **few),
    ]
    if scale == "smoke":
        tiny: dict[str, Any] = {"data": "digits", "examples": 200, "epochs": 20}
        shallow = Model.named("mlp", hidden=(32,))
        return [Network(name="MLP 1x32", network=shallow, scaled=True, **tiny), *whole]
    mnist: dict[str, Any] = {"data": "mnist", "examples": 2000 if scale == "small" else None}
    followed = [
        Network(
            name="MLP 1x128",
            network=Model.named("mlp", hidden=(128,)),
            epochs=40,
            scaled=True,
            **mnist,
        ),
        Network(name="LeNet", network=Model.named("lenet"), epochs=30, scaled=True, **mnist),
    ]
    return [*followed, *whole]


def entries(scale: Scale, seeds: Sequence[int]) -> list[Entry]:
    """Return the trials of a scale."""
    return [
        Entry(trial=network.trial(seed), place={"network": network.name, "scaled": network.scaled})
        for network in networks(scale)
        for seed in seeds
    ]
