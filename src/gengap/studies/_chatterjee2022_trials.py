"""The trials that repeat Chatterjee and Zielinski (2022): coherence on true and random labels."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

from torch import nn

from gengap.corruptions import RandomLabels
from gengap.data import Split
from gengap.lab import Data, Model, Trial
from gengap.models import mlp
from gengap.training import Probes, Recipe

from ._gather import Entry
from ._plain_pixels import plain_pixels

Scale = Literal["smoke", "small", "paper"]

TRUE, RANDOM = "true", "random"
LABELS = {TRUE: None, RANDOM: RandomLabels(probability=1.0)}
NOISY = RandomLabels(probability=0.5)


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
        probe: Examples of the probe sample.
        lr: Learning rate.
        momentum: Momentum.
        batch_size: Examples a step.
        epochs: Most epochs.
        seeds: How many of the seeds are run; None takes all.
        quiet: Whether pixels are in [0, 1] and weights start as PyTorch's do, so that outputs are
            nearly the same for every example and class before training.
    """

    name: str
    model: str
    options: tuple[tuple[str, object], ...] = ()
    data: str
    examples: int | None
    probe: int
    lr: float
    momentum: float = 0.0
    batch_size: int = 100
    epochs: int
    seeds: int | None = None
    quiet: bool = False

    @property
    def hidden(self) -> tuple[int, ...]:
        """The hidden layers of a perceptron."""
        found = dict(self.options)["hidden"]
        assert isinstance(found, tuple)
        return found

    def trial(self, seed: int, *, labels: str = TRUE, noisy: bool = False) -> Trial:
        """Return the trial on true or random labels, or with half of the labels redrawn."""
        tests = None if self.data == "digits" or self.examples is None else 2000
        return Trial(
            data=(plain_pixels if self.quiet else Data.named)(
                self.data, examples=self.examples, test_examples=tests
            ),
            model=quiet_mlp(self.hidden)
            if self.quiet
            else Model.named(self.model, **dict(self.options)),
            corruption=NOISY if noisy else LABELS[labels],
            recipe=Recipe(
                epochs=self.epochs,
                batch_size=self.batch_size,
                lr=self.lr,
                momentum=self.momentum,
                stop_at_accuracy=1.0,
            ),
            seed=seed,
            probes=Probes(coherence=self.probe, examples=True),
        )


def quiet_mlp(hidden: tuple[int, ...]) -> Model:
    """Return a perceptron with PyTorch's own initial weights, which are smaller than He's."""

    def build(split: Split) -> nn.Module:
        assert split.num_classes is not None
        model = mlp(split.input_shape, split.num_classes, hidden=hidden)
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
        return model

    spec = {"name": "mlp", "options": {"hidden": list(hidden), "weights": "PyTorch's"}}
    return Model(spec, lambda split: functools.partial(build, split))


def networks(scale: Scale) -> list[Network]:
    """Return the networks of a scale, the first that of the early-stopping experiment too."""
    mlp: dict[str, Any] = {"model": "mlp", "options": (("hidden", (512,)),), "lr": 0.1}
    if scale == "smoke":
        tiny: dict[str, Any] = {"data": "digits", "examples": 400, "probe": 400, "batch_size": 40}
        small: dict[str, Any] = {"model": "mlp", "lr": 0.5, "epochs": 150, "quiet": True}
        return [
            Network(name="MLP 1x128", options=(("hidden", (128,)),), **small, **tiny),
            Network(name="MLP 2x64", options=(("hidden", (64, 64)),), **small, **tiny),
        ]
    lenet: dict[str, Any] = {"name": "LeNet", "model": "lenet", "data": "mnist", "lr": 0.05}
    alexnet: dict[str, Any] = {"name": "Alexnet", "model": "small_alexnet", "lr": 0.01}
    inception: dict[str, Any] = {"name": "Inception", "model": "small_inception", "lr": 0.05}
    resnet: dict[str, Any] = {"name": "ResNet-8", "model": "resnet", "lr": 0.05}
    if scale == "paper":
        whole: dict[str, Any] = {"examples": None, "probe": 10_000, "epochs": 100}
        deep = {**resnet, "name": "ResNet-20", "options": (("depth", 20),)}
        return [
            Network(name="MLP 1x512", **mlp, data="mnist", **{**whole, "epochs": 500}, quiet=True),
            Network(name="MLP 1x512, He's weights", **mlp, data="mnist", **whole),
            Network(**lenet, **whole),
            Network(name="MLP 1x512, CIFAR-10", **mlp, data="cifar-10", **whole),
            *[
                Network(**net, momentum=0.9, batch_size=128, data="cifar-10", **whole)
                for net in (alexnet, inception, deep)
            ],
        ]
    images: dict[str, Any] = {"data": "cifar-10", "examples": 2000, "probe": 500}
    digits: dict[str, Any] = {"data": "mnist", "examples": 2000, "probe": 2000}
    return [
        Network(name="MLP 1x512", **mlp, **digits, epochs=500, quiet=True),
        Network(name="MLP 1x512, He's weights", **mlp, **digits, epochs=150),
        Network(**{**lenet, **digits, "probe": 1000}, epochs=100, seeds=2),
        Network(name="MLP 1x512, CIFAR-10", **{**mlp, "lr": 0.02}, **images, epochs=80),
        Network(**alexnet, momentum=0.9, **images, epochs=60, seeds=2),
        Network(**resnet, options=(("depth", 8),), momentum=0.9, **images, epochs=60, seeds=2),
        Network(**inception, momentum=0.9, **images, epochs=25, seeds=2),
    ]


def same_examples(scale: Scale) -> list[list[str]]:
    """Return which networks learn the same examples, so that their order can be compared."""
    found: dict[tuple[str, int | None], list[str]] = {}
    for network in networks(scale):
        found.setdefault((network.data, network.examples), []).append(network.name)
    return list(found.values())


def entries(scale: Scale, seeds: Sequence[int]) -> list[Entry]:
    """Return the trials of a scale, the cheap networks first."""
    found = []
    for place, network in enumerate(networks(scale)):
        for seed in seeds[: network.seeds]:
            for labels in LABELS:
                where = {"part": "coherence", "network": network.name, "labels": labels}
                found.append(Entry(trial=network.trial(seed, labels=labels), place=where))
            if place == 0:
                where = {"part": "stopping", "network": network.name, "labels": "half redrawn"}
                found.append(Entry(trial=network.trial(seed, noisy=True), place=where))
    return found
