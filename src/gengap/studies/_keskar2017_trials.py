"""The trials that repeat Keskar et al. (2017): small batches against a tenth of the data."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

from torch import nn

from gengap.data import Split
from gengap.lab import Data, Lab, Model, Trial
from gengap.training import Recipe

from ._gather import Entry
from ._plain_pixels import plain_pixels

Scale = Literal["smoke", "small", "paper"]

SMALL, LARGE = "small batch", "large batch"
PAPER_BATCH = 256
"""The paper's small batch; its large one is a tenth of the data."""


@final
@dataclass(frozen=True, kw_only=True)
class Network:
    """A network on a data set, and how its two batch sizes train.

    Attributes:
        name: As in the paper.
        model: The library's name of it.
        options: Options of its builder.
        data: Name of the data set.
        examples: Training examples; None takes all.
        batches: Small and large batch size.
        epochs: Most epochs with each; training ends before once the loss stops improving.
        patience: Epochs without improvement after which it ends.
        warm: After how many small-batch epochs large-batch training starts, in figure 5.
        measured: Training examples, drawn once, whose loss sharpness is of; None takes all.
    """

    name: str
    model: str
    options: tuple[tuple[str, object], ...] = ()
    data: str
    examples: int | None
    batches: tuple[int, int]
    epochs: tuple[int, int]
    patience: int = 10
    warm: tuple[int, ...] = ()
    measured: int | None = None

    def batch(self, regime: str) -> int:
        """Return the batch size of a regime."""
        return self.batches[regime == LARGE]

    def recipe(self, regime: str, *, epochs: int | None = None) -> Recipe:
        """Return the paper's recipe: Adam, until the training loss stops improving."""
        return Recipe(
            optimizer="adam",
            lr=0.001,
            batch_size=self.batch(regime),
            epochs=self.epochs[regime == LARGE] if epochs is None else epochs,
            patience=self.patience if epochs is None else None,
        )

    @property
    def split(self) -> Data:
        """The data, pixels in [0, 1] as in the paper's code."""
        tests = None if self.examples is None or self.data == "digits" else 2000
        return plain_pixels(self.data, examples=self.examples, test_examples=tests)

    @property
    def own(self) -> Model:
        """The network."""
        return Model.named(self.model, **dict(self.options))

    def trial(self, regime: str, seed: int, *, epochs: int | None = None) -> Trial:
        """Return the trial of a regime, or of its first epochs."""
        recipe = self.recipe(regime, epochs=epochs)
        return Trial(data=self.split, model=self.own, recipe=recipe, seed=seed)

    def warm_trial(self, lab: Lab, epochs: int, seed: int) -> Trial:
        """Return the large-batch trial that starts where so many small-batch epochs end."""
        first = self.trial(SMALL, seed, epochs=epochs)
        spec = {**self.own.spec, "weights of": first.id}

        def built(split: Split) -> nn.Module:
            return lab.model(first).train()

        model = Model(spec, lambda split: functools.partial(built, split))
        return Trial(data=self.split, model=model, recipe=self.recipe(LARGE), seed=seed)


def networks(scale: Scale) -> list[Network]:
    """Return the networks of a scale; the ratio of the batch sizes is the paper's."""
    if scale == "smoke":
        tiny: dict[str, Any] = {"data": "digits", "examples": 400, "patience": 20}
        options = (("hidden", (64, 64, 64)), ("batch_norm", True))
        return [
            Network(
                name="F1, narrow",
                model="mlp",
                options=options,
                batches=(8, 40),
                epochs=(20, 60),
                warm=(10,),
                **tiny,
            )
        ]
    f1: dict[str, Any] = {"name": "F1", "model": "keskar_f1", "data": "mnist"}
    c1: dict[str, Any] = {"name": "C1", "model": "keskar_c1", "data": "cifar-10"}
    f1 |= {"examples": None, "batches": (PAPER_BATCH, 6000)}
    if scale == "small":
        return [
            Network(**f1, epochs=(60, 60), warm=(1, 3, 10, 30), measured=10_000),
            Network(**c1, examples=2000, batches=(10, 200), epochs=(40, 100), measured=500),
        ]
    c1 |= {"examples": None, "batches": (PAPER_BATCH, 5000)}
    long: dict[str, Any] = {"epochs": (100, 300), "warm": (1, 3, 10, 30, 100)}
    return [Network(**f1, **long), Network(**c1, **long)]


def entries(scale: Scale, seeds: Sequence[int]) -> list[Entry]:
    """Return the trials of both regimes, and the beginnings from which others start."""
    found = []
    for network in networks(scale):
        for seed in seeds:
            for regime in (SMALL, LARGE):
                place = {"part": "regimes", "network": network.name, "regime": regime, "warm": 0}
                found.append(Entry(trial=network.trial(regime, seed), place=place))
            for epochs in network.warm:
                place = {"part": "begun", "network": network.name, "regime": SMALL, "warm": epochs}
                begun = network.trial(SMALL, seed, epochs=epochs)
                found.append(Entry(trial=begun, place=place))
    return found


def warm_entries(lab: Lab, scale: Scale, seeds: Sequence[int]) -> list[Entry]:
    """Return the large-batch trials that start from small-batch weights that are there."""
    found = []
    for network in networks(scale):
        for seed in seeds:
            for epochs in network.warm:
                if lab.store.is_complete(network.trial(SMALL, seed, epochs=epochs).id):
                    trial = network.warm_trial(lab, epochs, seed)
                    place = {
                        "part": "warm",
                        "network": network.name,
                        "regime": LARGE,
                        "warm": epochs,
                    }
                    found.append(Entry(trial=trial, place=place))
    return found
