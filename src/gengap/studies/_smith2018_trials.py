"""The trials that repeat Smith and Le (2018): logistic regression, and sweeps of the batch size."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from gengap._streams import streams
from gengap.corruptions import RandomLabels
from gengap.data import Preprocessing, Split, load
from gengap.lab import Data, Model, Trial
from gengap.training import Recipe

from ._gather import Entry
from ._plain_pixels import plain_pixels

Scale = Literal["smoke", "small", "paper"]
Half = Literal["train", "test"]

LABELS = {"informative": None, "random": RandomLabels(probability=1.0, test_labels=True)}
PRECISIONS = tuple(10 ** (half / 2) for half in range(8, -17, -1))
"""Prior precisions from 10,000 down to 1e-8, two a decade."""

SWEEPS = ("learning rate", "examples", "1 / (1 - momentum)")


@final
@dataclass(frozen=True, kw_only=True)
class Digits:
    """Zeros and ones of a data set: how many of each are trained and tested on.

    Attributes:
        data: Name of the data set.
        train: Images of each of the two in training, drawn from the train half.
        test: Images of each for the test, drawn from what is left of both halves; None takes all.
    """

    data: str
    train: int
    test: int | None


def digits(scale: Scale) -> Digits:
    """Return the zeros and ones of a scale."""
    if scale == "smoke":
        return Digits(data="digits", train=30, test=None)
    return Digits(data="mnist", train=400, test=5000)


def zeros_and_ones(chosen: Digits, seed: int) -> Data:
    """Return balanced zeros and ones with pixels in [0, 1], drawn anew for every seed."""
    name = f"{chosen.data}, zeros and ones"
    asked = {"train": chosen.train, "test": chosen.test, "draw": seed}
    spec = {"name": name, "preprocessing": "pixels in [0, 1]", **asked}
    sides: tuple[Half, Half] = ("train", "test")

    @functools.cache
    def halves() -> tuple[Split, Split]:
        train, test = load(chosen.data)
        assert test is not None
        images, kinds = (torch.cat([_own(half, k) for half in (train, test)]) for k in (0, 1))
        first = len(train)
        taken, left = [], []
        for kind in (0, 1):
            order = torch.randperm(len(images), generator=streams(seed)("zeros and ones", kind))
            own = order[kinds[order] == kind]
            mine = own[own < first][: chosen.train]
            rest = own[~torch.isin(own, mine)]
            taken.append(mine)
            left.append(rest if chosen.test is None else rest[: chosen.test])
        plain = Preprocessing(scale=train.preprocessing.scale)
        made = []
        for half, parts in zip(sides, (taken, left), strict=True):
            rows = torch.cat(parts).sort().values
            made.append(
                Split(
                    inputs=images[rows],
                    targets=kinds[rows],
                    num_classes=2,
                    half=half,
                    name=name,
                    preprocessing=plain,
                )
            )
        return made[0], made[1]

    return Data(spec, halves)


def _own(half: Split, part: int) -> Tensor:
    """Return images, or labels, of a half in memory."""
    assert isinstance(half.inputs, Tensor)
    return (half.inputs, half.targets)[part].cpu()


@final
class LogisticRegression(nn.Module):
    """One weight a pixel and a bias; the outputs are the logits 0 and z of two classes."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.line = nn.Linear(features, 1)
        nn.init.zeros_(self.line.weight)
        nn.init.zeros_(self.line.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [b, 2]."""
        z = self.line(x.flatten(1))
        return torch.cat([torch.zeros_like(z), z], 1)


def logistic() -> Model:
    """Return logistic regression, sized to the data."""
    return Model(
        {"name": "logistic regression"},
        lambda split: lambda: LogisticRegression(math.prod(split.input_shape)),
    )


def evidence_trial(scale: Scale, labels: str, seed: int) -> Trial:
    """Return the trial whose data and model the evidence is measured of."""
    return Trial(
        data=zeros_and_ones(digits(scale), seed),
        model=logistic(),
        corruption=LABELS[labels],
        recipe=Recipe(epochs=1, batch_size=100, lr=0.01),
        seed=seed,
    )


@final
@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep over batch sizes with all else fixed.

    Attributes:
        examples: Training examples N.
        lr: Learning rate.
        momentum: Momentum.
        sizes: Batch sizes.
        updates: Least number of updates.
        hidden: Hidden units.
        data: Name of the data set.
    """

    examples: int = 1000
    lr: float
    momentum: float = 0.9
    sizes: tuple[int, ...]
    updates: int
    hidden: int = 800
    data: str = "mnist"

    @property
    def name(self) -> str:
        """As in tables."""
        return f"N={self.examples}, lr={self.lr:g}, m={self.momentum:g}"

    def trial(self, batch_size: int, seed: int) -> Trial:
        """Return the trial at one batch size."""
        epochs = math.ceil(self.updates / math.ceil(self.examples / batch_size))
        return Trial(
            data=plain_pixels(self.data, examples=self.examples),
            model=Model.named("mlp", hidden=(self.hidden,)),
            recipe=Recipe(
                epochs=epochs,
                batch_size=batch_size,
                lr=self.lr,
                momentum=self.momentum,
                evaluate_every=epochs,
            ),
            seed=seed,
        )


_SIZES = (2, 4, 8, 16, 32, 64, 125, 250, 500, 1000)


def sweeps(scale: Scale) -> dict[str, list[Sweep]]:
    """Return the sweeps of a scale, by what changes among them; the base is in each."""
    if scale == "smoke":
        some: dict[str, Any] = {"data": "digits", "updates": 200, "hidden": 64, "momentum": 0.9}
        sizes = (8, 16, 32, 64, 128, 256)
        base = Sweep(examples=256, lr=0.1, sizes=sizes, **some)
        return {
            "learning rate": [replace(base, lr=lr) for lr in (0.02, 0.1, 0.5)],
            "examples": [replace(base, examples=n, sizes=_within(sizes, n)) for n in (128, 256)],
        }
    if scale == "small":
        base = Sweep(lr=0.3, sizes=_from(8, 500), updates=5000)
        return {
            "learning rate": [
                replace(base, lr=0.03, sizes=_from(2, 64)),
                replace(base, lr=0.1, sizes=_from(4, 125)),
                base,
                replace(base, lr=1.0, sizes=_from(32, 1000)),
            ],
            "examples": [
                replace(base, examples=500, sizes=_from(8, 250)),
                base,
                replace(base, examples=2000, sizes=_from(16, 1000)),
                replace(base, examples=4000, sizes=_from(32, 1000)),
            ],
        }
    base = Sweep(lr=1.0, sizes=_SIZES, updates=10_000)
    large = (*_SIZES, 2000, 4000)
    return {
        "learning rate": [replace(base, lr=lr) for lr in (0.03, 0.1, 0.3, 1.0, 3.0)],
        "examples": [
            replace(base, examples=n, sizes=_within(large, n))
            for n in (500, 1000, 2000, 4000, 8000)
        ],
        "1 / (1 - momentum)": [replace(base, lr=0.3, momentum=m) for m in (0.0, 0.5, 0.8, 0.9)],
    }


def _from(least: int, most: int) -> tuple[int, ...]:
    return tuple(size for size in _SIZES if least <= size <= most)


def _within(sizes: Sequence[int], n: int) -> tuple[int, ...]:
    return tuple(size for size in sizes if size <= n)


def changing(sweep: Sweep, what: str) -> float:
    """Return the value of what changes among the sweeps of a name."""
    return {
        "learning rate": sweep.lr,
        "examples": float(sweep.examples),
        "1 / (1 - momentum)": 1 / (1 - sweep.momentum),
    }[what]


def entries(scale: Scale, seeds: Sequence[int]) -> list[Entry]:
    """Return the trials of a scale, those of the evidence first."""
    found = [
        Entry(
            trial=evidence_trial(scale, labels, seed),
            place={"part": "evidence", "labels": labels},
        )
        for labels in LABELS
        for seed in seeds
    ]
    for what, own in sweeps(scale).items():
        for sweep in own:
            place = {"part": "sweep", "what": what, "sweep": sweep.name}
            found += [
                Entry(
                    trial=sweep.trial(size, seed),
                    place={**place, "value": changing(sweep, what), "batch_size": size},
                )
                for size in sweep.sizes
                for seed in seeds
            ]
    return found
