"""The trials that repeat Zielinski et al. (2020): three gradients, easy and hard examples."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor

from gengap.corruptions import RandomLabels
from gengap.data import Split
from gengap.lab import Data, Lab, Model, Trial
from gengap.training import Probes, Recipe

from ._gather import Entry

Scale = Literal["smoke", "small", "paper"]

RULES = {
    "SGD": "sgd",
    "rolling mean": "rolling_mean_of_three",
    "RM3": "rolling_median_of_three",
    "mean of three": "mean_of_three",
    "M3": "median_of_three",
}
THREE_A_STEP = ("mean of three", "M3")
"""Rules that take three gradients an update."""

CONTROL = {"RM3": "rolling mean", "M3": "mean of three"}
"""Each median and the mean of the same three gradients."""

GROUPS = ("easy", "hard")


@final
@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where the rules are compared.

    Attributes:
        name: As in tables.
        examples: Training examples.
        noise: Probability with which a label is redrawn.
        batch_size: Examples in each of the three gradients.
        lr: Learning rate.
        updates: Updates of the parameters, the same for every rule.
        hidden: Hidden layers of the perceptron.
    """

    name: str
    examples: int
    noise: float
    batch_size: int
    lr: float
    updates: int
    hidden: tuple[int, ...]

    @property
    def steps_per_epoch(self) -> int:
        """Gradients an epoch."""
        return -(-self.examples // self.batch_size)

    def epochs(self, rule: str) -> int:
        """Return the epochs in which a rule makes the updates: M3 takes three gradients each."""
        each = 3 if rule in THREE_A_STEP else 1
        return -(-self.updates * each // self.steps_per_epoch)


def settings(scale: Scale) -> list[Setting]:
    """Return the settings of a scale."""
    if scale == "smoke":
        tiny: dict[str, Any] = {"examples": 300, "noise": 0.2, "hidden": (64,)}
        return [
            Setting(name="batch 3", batch_size=3, lr=0.02, updates=2000, **tiny),
            Setting(name="batch 50", batch_size=50, lr=0.2, updates=300, **tiny),
        ]
    few: dict[str, Any] = {"examples": 2000, "hidden": (128,)}
    many: dict[str, Any] = {"examples": 10_000, "noise": 0.5, "hidden": (512,)}
    found = [
        Setting(name="batch 100, half", batch_size=100, lr=0.1, updates=6000, **many),
        Setting(name="batch 1000, half", batch_size=1000, lr=0.5, updates=1200, **many),
        Setting(name="batch 100, tenth", noise=0.1, batch_size=100, lr=0.1, updates=3000, **few),
        Setting(name="batch 10, tenth", noise=0.1, batch_size=10, lr=0.03, updates=6000, **few),
        Setting(name="batch 3, tenth", noise=0.1, batch_size=3, lr=0.01, updates=12_000, **few),
        Setting(name="batch 10, half", noise=0.5, batch_size=10, lr=0.03, updates=6000, **few),
        Setting(name="batch 3, half", noise=0.5, batch_size=3, lr=0.01, updates=12_000, **few),
    ]
    if scale == "paper":
        whole: dict[str, Any] = {"examples": 60_000, "hidden": (512,), "batch_size": 256}
        found += [
            Setting(name="all digits, half", noise=0.5, lr=0.1, updates=21_150, **whole),
            Setting(name="all digits, tenth", noise=0.1, lr=0.1, updates=21_150, **whole),
        ]
    return found


def trial(setting: Setting, rule: str, scale: Scale, seed: int) -> Trial:
    """Return the trial of a rule in a setting."""
    epochs = setting.epochs(rule)
    name = "digits" if scale == "smoke" else "mnist"
    return Trial(
        data=Data.named(name, examples=setting.examples),
        model=Model.named("mlp", hidden=setting.hidden),
        corruption=RandomLabels(probability=setting.noise),
        recipe=Recipe(
            epochs=epochs,
            batch_size=setting.batch_size,
            optimizer=RULES[rule],  # type: ignore[arg-type]
            lr=setting.lr,
            momentum=0.0,
            evaluate_every=max(1, epochs // 20),
        ),
        seed=seed,
    )


@final
@dataclass(frozen=True, kw_only=True)
class Source:
    """Where easy and hard examples come from.

    Attributes:
        name: As in tables.
        data: Name of the data set.
        examples: Training examples that are told apart.
        model: The network that tells them apart and is then trained on either.
        options: Options of its builder.
        lr: Learning rate of both.
        judge_lr: Learning rate of the epoch after which what is right is easy.
        most: Most examples of a group, training and held out together.
        epochs: Most epochs on a group.
    """

    name: str
    data: str
    examples: int
    model: str
    options: tuple[tuple[str, object], ...] = ()
    lr: float
    judge_lr: float
    most: int
    epochs: int

    @property
    def network(self) -> Model:
        """The network."""
        return Model.named(self.model, **dict(self.options))


def sources(scale: Scale) -> list[Source]:
    """Return the sources of a scale."""
    hidden: dict[str, Any] = {"model": "mlp", "options": (("hidden", (512,)),)}
    if scale == "smoke":
        tiny: dict[str, Any] = {"model": "mlp", "options": (("hidden", (64,)),)}
        return [
            Source(
                name="digits",
                data="digits",
                examples=1400,
                lr=0.05,
                judge_lr=0.01,
                most=500,
                epochs=20,
                **tiny,
            )
        ]
    mnist: dict[str, Any] = {"name": "MNIST, MLP", "data": "mnist", "lr": 0.05, "judge_lr": 0.01}
    cifar: dict[str, Any] = {"data": "cifar-10", "lr": 0.01, "judge_lr": 0.01}
    if scale == "small":
        return [
            Source(**mnist, examples=20_000, most=3000, epochs=30, **hidden),
            Source(**cifar, name="CIFAR-10, MLP", examples=10_000, most=6000, epochs=40, **hidden),
        ]
    return [
        Source(**mnist, examples=60_000, most=6000, epochs=60, **hidden),
        Source(
            **cifar,
            name="CIFAR-10, Alexnet",
            examples=50_000,
            most=20_000,
            epochs=60,
            model="small_alexnet",
        ),
    ]


def judge(source: Source, seed: int) -> Trial:
    """Return the trial of one epoch after which the examples that are right are easy."""
    return Trial(
        data=Data.named(source.data, examples=source.examples),
        model=source.network,
        recipe=Recipe(epochs=1, batch_size=100, lr=source.judge_lr, momentum=0.9),
        seed=seed,
        probes=Probes(examples=True),
    )


def group_data(lab: Lab, source: Source, group: str, seed: int) -> Data:
    """Return the data of a group, told by what they were drawn from; loaded once it is judged.

    Easy and hard are equally many, with equally many of each class; a sixth is held out.
    """
    chosen = judge(source, seed)

    @functools.cache
    def load() -> tuple[Split, Split]:
        train, _ = chosen.splits()
        right = torch.tensor(lab.examples(chosen)["correct"].to_numpy(dtype=bool))
        rows = equal_groups(train.targets, right, source.most)[GROUPS.index(group)]
        held_out = torch.arange(len(rows)) % 6 == 5
        return train[rows[~held_out].sort().values], train[rows[held_out].sort().values]

    spec = {"name": source.data, "group": group, "judge": chosen.id, "most": source.most}
    return Data(spec, load)


def equal_groups(targets: Tensor, right: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Return rows of the right and of the wrong examples, equally many of each class in both.

    Args:
        targets: Labels [n].
        right: Whether the judge was right, bool [n].
        most: Most rows of a group.
    """
    easy: list[Tensor] = []
    hard: list[Tensor] = []
    classes = targets.unique()
    for label in classes.tolist():
        own = targets == label
        rows = [(own & kind).nonzero().squeeze(1) for kind in (right, ~right)]
        count = min(*map(len, rows), most // len(classes))
        count -= count % 6
        for kept, found in zip((easy, hard), rows, strict=True):
            places = torch.linspace(0, max(0, len(found) - 1), count).round().long()
            kept.append(found[places])
    return torch.cat(easy), torch.cat(hard)


def group_trial(lab: Lab, source: Source, group: str, scale: Scale, seed: int) -> Trial:
    """Return the trial that trains on a group and tests on its held-out examples."""
    return Trial(
        data=group_data(lab, source, group, seed),
        model=source.network,
        recipe=Recipe(
            epochs=source.epochs,
            batch_size=20 if scale == "smoke" else 100,
            lr=source.lr,
            momentum=0.0,
            stop_at_accuracy=1.0,
        ),
        seed=seed,
        probes=Probes(coherence=200 if scale == "smoke" else 1000),
    )


def judges(scale: Scale, seeds: Sequence[int]) -> list[Entry]:
    """Return the trials that tell easy from hard, which come first."""
    return [
        Entry(trial=judge(source, seed), place={"part": "judge", "source": source.name})
        for source in sources(scale)
        for seed in seeds
    ]


def entries(lab: Lab, scale: Scale, seeds: Sequence[int]) -> list[Entry]:
    """Return the trials of a scale but the judges."""
    found = [
        Entry(
            trial=group_trial(lab, source, group, scale, seed),
            place={"part": "groups", "source": source.name, "group": group},
        )
        for source in sources(scale)
        for seed in seeds
        for group in GROUPS
    ]
    found += [
        Entry(
            trial=trial(setting, rule, scale, seed),
            place={"part": "rules", "setting": setting.name, "rule": rule},
        )
        for seed in seeds
        for setting in settings(scale)
        for rule in RULES
    ]
    return found
