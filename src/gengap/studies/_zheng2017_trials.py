"""The networks whose features Zheng et al. (2017) is repeated with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, final

from gengap.lab import Data, Model, Trial
from gengap.optim import DARC1
from gengap.training import Recipe

from ._gather import Entry

Scale = Literal["smoke", "small", "paper"]
PLAIN, SHORTCUTS, DECAY = "plain", "shortcuts", "plain, weight decay"
BOTH, PENALTY = "shortcuts, weight decay", "plain, DARC1"
VARIANTS = (PLAIN, SHORTCUTS, DECAY, BOTH, PENALTY)


@final
@dataclass(frozen=True, kw_only=True)
class Plan:
    """One scale.

    Attributes:
        data: Name of the data set.
        examples: Training and test examples; None takes all.
        width: Of every hidden layer.
        depth: Hidden layers.
        lr: Learning rate, at which networks with and without shortcuts learn.
        epochs: After which the features are read; the last is the end of training.
        read: Training and test examples on which they are read.
    """

    data: str
    examples: int | None
    width: int
    depth: int
    lr: float
    epochs: tuple[int, ...]
    read: int

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the modules after the first ReLU and after every later layer."""
        return tuple(str(2 + i) for i in range(self.depth))

    def trial(self, seed: int, *, variant: str, epochs: int) -> Trial:
        """Return a trial, or that of its first epochs."""
        recipe = Recipe(epochs=epochs, batch_size=50, lr=self.lr, momentum=0.9)
        if variant in (DECAY, BOTH):
            recipe = replace(recipe, weight_decay=1e-3)
        if variant == PENALTY:
            recipe = replace(recipe, regularizers=(DARC1(strength=0.1),))
        return Trial(
            data=Data.named(self.data, examples=self.examples, test_examples=self.examples),
            model=Model.named(
                "residual_mlp",
                width=self.width,
                depth=self.depth,
                shortcuts=variant in (SHORTCUTS, BOTH),
            ),
            recipe=recipe,
            seed=seed,
        )


PLANS: dict[Scale, Plan] = {
    "smoke": Plan(
        data="digits", examples=300, width=24, depth=3, lr=0.02, epochs=(1, 20), read=200
    ),
    "small": Plan(
        data="mnist", examples=2000, width=64, depth=6, lr=0.002, epochs=(1, 4, 60), read=500
    ),
    "paper": Plan(
        data="cifar-10",
        examples=None,
        width=512,
        depth=12,
        lr=0.002,
        epochs=(1, 4, 16, 64, 200),
        read=5000,
    ),
}


def entries(scale: Scale, seeds: Sequence[int]) -> list[Entry]:
    """Return the trials of a scale."""
    plan = PLANS[scale]
    return [
        Entry(
            trial=plan.trial(seed, variant=variant, epochs=epochs),
            place={"variant": variant, "epochs": epochs},
        )
        for variant in VARIANTS
        for epochs in plan.epochs
        for seed in seeds
    ]
