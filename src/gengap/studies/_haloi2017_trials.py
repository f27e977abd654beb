"""Networks of one parameter count that shrink fast or slowly, at two learning-rate schedules."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

from gengap.lab import Data, Model, Trial
from gengap.training import Constant, Cosine, Recipe

from ._gather import Entry

Scale = Literal["smoke", "small", "paper"]
FAST, SLOW = "fast", "slow"
REDUCTIONS = (FAST, SLOW)
CONSTANT, DECAYED = "constant", "decayed"
RATES = {CONSTANT: Constant(), DECAYED: Cosine()}


@final
@dataclass(frozen=True, kw_only=True)
class Plan:
    """One scale.

    Attributes:
        data: Name of the data set.
        examples: Training examples; None takes all.
        test_examples: Test examples; None takes all.
        width: Channels.
        depth: Convolutions.
        pools: How many of them are followed by max-pooling.
        epochs: Passes over the training examples.
        lr: Learning rate at the start.
    """

    data: str
    examples: int | None
    test_examples: int | None
    width: int
    depth: int
    pools: int
    epochs: int
    lr: float

    def pool_after(self, reduction: str) -> tuple[int, ...]:
        """Return after which convolutions the image is halved: the first, or evenly spread."""
        step = 1 if reduction == FAST else self.depth // self.pools
        return tuple(step * (1 + i) for i in range(self.pools))

    def trial(self, seed: int, *, reduction: str, rate: str) -> Trial:
        """Return a trial."""
        return Trial(
            data=Data.named(self.data, examples=self.examples, test_examples=self.test_examples),
            model=Model.named(
                "pyramid",
                width=self.width,
                depth=self.depth,
                pool_after=list(self.pool_after(reduction)),
            ),
            recipe=Recipe(
                epochs=self.epochs, batch_size=32, lr=self.lr, momentum=0.9, schedule=RATES[rate]
            ),
            seed=seed,
        )


PLANS: dict[Scale, Plan] = {
    "smoke": Plan(
        data="digits",
        examples=200,
        test_examples=200,
        width=6,
        depth=4,
        pools=2,
        epochs=6,
        lr=0.02,
    ),
    "small": Plan(
        data="fashion-mnist",
        examples=1000,
        test_examples=2000,
        width=8,
        depth=6,
        pools=3,
        epochs=20,
        lr=0.02,
    ),
    "paper": Plan(
        data="cifar-10",
        examples=None,
        test_examples=None,
        width=96,
        depth=9,
        pools=3,
        epochs=100,
        lr=0.02,
    ),
}


def entries(scale: Scale, seeds: Sequence[int]) -> list[Entry]:
    """Return the trials of a scale."""
    plan = PLANS[scale]
    return [
        Entry(
            trial=plan.trial(seed, reduction=reduction, rate=rate),
            place={"reduction": reduction, "rate": rate, "way": f"{reduction}, {rate}"},
        )
        for reduction in REDUCTIONS
        for rate in RATES
        for seed in seeds
    ]
