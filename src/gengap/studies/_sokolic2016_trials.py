"""The trials and measurements of Sokolic et al. (2016)."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import nn

from gengap.capacity import bounded, norm_complexity, rademacher
from gengap.data import Split, as_split
from gengap.lab import Data, Measurement, Model, Trial
from gengap.optim import RepresentationCoherence, representation_coherence
from gengap.training import Recipe, build_seeded

from ._gather import Entry

Scale = Literal["smoke", "small", "paper"]
FULL = "fully connected"
PLAIN = "none"


@final
@dataclass(frozen=True, kw_only=True)
class Plan:
    """The sizes of a scale.

    Attributes:
        data: Name of the data set.
        image: Side of its images.
        examples: Whose Rademacher complexity is taken.
        kernels: Sides of the kernels.
        draws: Of the signs.
        steps: Of training to agree with them.
        train: Examples of the trials that test the penalty.
        epochs: Of those.
        strengths: Of the penalty.
    """

    data: str
    image: int
    examples: int
    kernels: tuple[int, ...]
    draws: int
    steps: int
    train: int
    epochs: int
    strengths: tuple[float, ...]


PLANS: dict[Scale, Plan] = {
    "smoke": Plan(
        data="digits", image=8, examples=40, kernels=(2, 4), draws=2, steps=40, train=200, epochs=4,
        strengths=(0.3,),
    ),
    "small": Plan(
        data="mnist", image=28, examples=100, kernels=(3, 5, 9), draws=6, steps=100,
        train=500, epochs=30, strengths=(0.1, 1.0),
    ),
    "paper": Plan(
        data="mnist", image=28, examples=1000, kernels=(3, 5, 9, 15), draws=20, steps=300,
        train=5000, epochs=60, strengths=(0.01, 0.1, 1.0),
    ),
}  # fmt: skip


def positions(plan: Plan, side: int | None) -> int:
    """Return at how many positions a kernel is used; 1 for full connections."""
    return 1 if side is None else ((plan.image - side) // 2 + 1) ** 2


def kernel_name(side: int) -> str:
    """Return how a convolutional network is called."""
    return f"convolution {side}x{side}"


def norm_bounded(shape: tuple[int, ...], side: int | None) -> nn.Sequential:
    """Build a network of one hidden layer and one output, without biases.

    Args:
        shape: Of one image.
        side: Of the kernel; None connects fully.
    """
    if side is None:
        width = 32
        first: list[nn.Module] = [
            nn.Flatten(),
            nn.Linear(torch.Size(shape).numel(), width, bias=False),
        ]
    else:
        first = [nn.Conv2d(shape[0], 8, side, stride=2, bias=False)]
        width = 8 * ((shape[1] - side) // 2 + 1) * ((shape[2] - side) // 2 + 1)
    return nn.Sequential(*first, nn.ReLU(), nn.Flatten(), nn.Linear(width, 1, bias=False))


def complexity(plan: Plan, side: int | None, seed: int) -> Measurement:
    """Return the trained complexity of networks of norm 1 a layer, and the bounds on it."""

    def compute() -> dict[str, Any]:
        whole, _ = Data.named(plan.data, examples=plan.examples).load()
        x = whole.batch()[0]
        split = as_split(x, torch.zeros(len(x), 1), regression=True)
        recipe = Recipe(
            epochs=plan.steps, batch_size=len(x), lr=1.0, loss="squared_error",
            evaluate_every=plan.steps,
        )  # fmt: skip
        found = rademacher(
            lambda: bounded(norm_bounded(whole.input_shape, side)),
            split, functions="values", draws=plan.draws, recipe=recipe, seed=seed,
        )  # fmt: skip
        edge = build_seeded(lambda: norm_bounded(whole.input_shape, side), seed)
        for weight in edge.parameters():
            weight.data /= weight.data.norm()
        return {
            "value": found.value,
            "standard_error": found.standard_error,
            "bound": norm_complexity(edge, x, name="patch"),
        }

    options = {"data": plan.data, "examples": plan.examples, "kernel": side, "seed": seed,
               "draws": plan.draws, "steps": plan.steps}  # fmt: skip
    return Measurement(name="norm-bounded-complexity", options=options, compute=compute)


def trained(side: int | None) -> Model:
    """Return the network of the trials, with biases and one output a class."""
    if side is None:
        return Model.named("mlp", hidden=(128,))

    def build(split: Split) -> nn.Module:
        channels, height, width = split.input_shape
        assert split.num_classes is not None
        places = ((height - side) // 2 + 1) * ((width - side) // 2 + 1)
        return nn.Sequential(
            nn.Conv2d(channels, 16, side, stride=2), nn.ReLU(), nn.Flatten(),
            nn.Linear(16 * places, split.num_classes),
        )  # fmt: skip

    spec = {"name": "one convolution", "options": {"channels": 16, "kernel": side, "stride": 2}}
    return Model(spec, lambda split: functools.partial(build, split))


def layer(side: int | None) -> int:
    """Return the place of the rectifier whose outputs are the representation."""
    return 2 if side is None else 1


def entries(scale: Scale, seeds: Sequence[int]) -> list[Entry]:
    """Return the trials that test the penalty."""
    plan, found = PLANS[scale], []
    for side in (None, 5 if plan.data == "mnist" else 3):
        for strength in (None, *plan.strengths):
            penalty = () if strength is None else (
                RepresentationCoherence(strength=strength, layer=str(layer(side))),
            )  # fmt: skip
            recipe = Recipe(
                epochs=plan.epochs, batch_size=50, lr=0.05, regularizers=penalty,
                evaluate_every=plan.epochs,
            )  # fmt: skip
            place = {
                "network": FULL if side is None else kernel_name(side),
                "penalty": PLAIN if strength is None else f"{strength:g}",
                "side": side,
            }
            data = Data.named(plan.data, examples=plan.train)
            found += [
                Entry(
                    trial=Trial(data=data, model=trained(side), recipe=recipe, seed=seed),
                    place=place,
                )
                for seed in seeds
            ]
    return found


def coherence_of(entry: Entry, load: Any) -> Measurement:
    """Return the coherence of the representation of test examples, of a complete trial.

    Args:
        entry: The trial.
        load: Returns its network.
    """
    side = entry.place["side"]

    def compute() -> dict[str, float]:
        model, test = load(entry.trial), entry.trial.splits()[1]
        assert test is not None
        x = test[:500].batch()[0]
        with torch.no_grad():
            features = model[: layer(side) + 1](x).double()  # type: ignore[arg-type]
        return {"coherence": float(representation_coherence(features))}

    return Measurement(trial=entry.trial, name="representation-coherence", compute=compute)
