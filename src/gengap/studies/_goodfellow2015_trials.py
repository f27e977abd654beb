"""The networks whose way from start to end Goodfellow et al. (2015) look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

from gengap.lab import Data, Model, Trial
from gengap.training import Recipe

from ._gather import Entry

Scale = Literal["smoke", "small", "paper"]


@final
@dataclass(frozen=True, kw_only=True)
class Network:
    """A network on a data set.

    Attributes:
        name: As in tables.
        model: The library's name of it.
        options: Options of its builder.
        data: Name of the data set.
        examples: Training examples; None takes all.
        epochs: Epochs of training.
        recorded: Epochs after which the weights on the way are looked at, for one seed.
    """

    name: str
    model: str
    options: tuple[tuple[str, object], ...] = ()
    data: str
    examples: int | None
    epochs: int
    recorded: tuple[int, ...]

    def trial(self, seed: int, *, epochs: int | None = None) -> Trial:
        """Return the trial, or that of its first epochs."""
        tests = 2000 if self.data == "cifar-10" and self.examples is not None else None
        return Trial(
            data=Data.named(self.data, examples=self.examples, test_examples=tests),
            model=Model.named(self.model, **dict(self.options)),
            recipe=Recipe(epochs=epochs or self.epochs, batch_size=100, lr=0.02, momentum=0.9),
            seed=seed,
        )


def networks(scale: Scale) -> list[Network]:
    """Return the networks of a scale."""
    if scale == "smoke":
        tiny: dict[str, Any] = {"data": "digits", "examples": 600, "epochs": 32}
        options = (("hidden", (64, 64)),)
        return [Network(name="MLP 2x64", model="mlp", options=options, recorded=(1, 4, 16), **tiny)]
    few = scale == "small"
    digits: dict[str, Any] = {"data": "mnist", "examples": 10_000 if few else None, "epochs": 32}
    images: dict[str, Any] = {"data": "cifar-10", "examples": 2000 if few else None, "epochs": 40}
    path: dict[str, Any] = {"recorded": (1, 2, 4, 8, 16)}
    return [
        Network(name="MLP 2x256", model="mlp", options=(("hidden", (256, 256)),), **digits, **path),
        Network(name="LeNet", model="lenet", **digits, **path),
        Network(name="Alexnet", model="small_alexnet", **images, **path),
    ]


def entries(scale: Scale, seeds: Sequence[int]) -> list[Entry]:
    """Return the trials of a scale, with the beginnings of the first seed's."""
    found = []
    for network in networks(scale):
        for seed in seeds:
            place = {"part": "ends", "network": network.name, "epochs": network.epochs}
            found.append(Entry(trial=network.trial(seed), place=place))
        for epochs in network.recorded:
            place = {"part": "on the way", "network": network.name, "epochs": epochs}
            found.append(Entry(trial=network.trial(seeds[0], epochs=epochs), place=place))
    return found
