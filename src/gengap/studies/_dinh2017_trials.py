"""The trained networks on which Dinh et al. (2017) is repeated."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

from torch import nn

from gengap.corruptions import RandomLabels
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
    few_digits = (1000, 500) if scale == "small" else (None, None)
    followed = [
        Network(
            name="MLP 1x128",
            network=Model.named("mlp", hidden=(128,)),
            data="mnist",
            examples=few_digits[0],
            epochs=60,
            scaled=True,
        ),
        Network(
            name="LeNet",
            network=Model.named("lenet"),
            data="mnist",
            examples=few_digits[1],
            epochs=60,
            scaled=True,
            lr=0.02,
        ),
    ]
    return [*followed, *whole]


REGIMES: dict[str, tuple[int, RandomLabels | None]] = {
    "small batches": (10, None),
    "large batches": (200, None),
    "random labels": (10, RandomLabels(probability=1.0)),
}
"""Batch size and corruption of the networks whose least trace is compared."""
ORBIT, LOSS = "MLP 2x32", 0.01


def orbit_trial(regime: str, scale: Scale, seed: int) -> Trial:
    """Return the trial of a regime; all of them train to the same loss."""
    batch_size, corruption = REGIMES[regime]
    data, examples = ("digits", 400) if scale == "smoke" else ("mnist", 1000)
    return Trial(
        data=Data.named(data, examples=examples),
        model=Model.named("mlp", hidden=(32, 32)),
        recipe=Recipe(epochs=1000, batch_size=batch_size, lr=0.05, momentum=0.0, stop_at_loss=LOSS),
        corruption=corruption,
        seed=seed,
    )


def entries(scale: Scale, seeds: Sequence[int]) -> list[Entry]:
    """Return the trials of a scale."""
    found = [
        Entry(
            trial=network.trial(seed),
            place={
                "part": "scaled" if network.scaled else "theorem",
                "network": network.name,
                "regime": "",
            },
        )
        for network in networks(scale)
        for seed in seeds
    ]
    found += [
        Entry(
            trial=orbit_trial(regime, scale, seed),
            place={"part": "orbit", "network": ORBIT, "regime": regime},
        )
        for regime in REGIMES
        for seed in seeds
    ]
    return found
