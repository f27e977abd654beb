"""What Kawaguchi et al. (2017) is repeated with, at every scale."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, final

from gengap.corruptions import RandomLabels
from gengap.lab import Data, Model, Trial
from gengap.optim import DARC1
from gengap.training import Recipe

from ._gather import Entry

Scale = Literal["smoke", "small", "paper"]
LABELS = {"true": 0.0, "a fifth redrawn": 0.2}
JUDGED = 0.1


@final
@dataclass(frozen=True, kw_only=True)
class Plan:
    """One scale.

    Attributes:
        data: Name of the data set.
        examples: Training examples; None takes all.
        test_examples: Test examples; None takes all.
        hidden: Widths of the perceptron's hidden layers.
        epochs: Of every run, and of every phase.
        strengths: Of DARC1, beside none.
        shares: Of the examples that the first of two phases sees.
        levels: Probabilities with which labels are redrawn, for the gap of squared loss.
        squared: Training examples of the networks with squared loss.
        epochs_squared: Their epochs.
    """

    data: str
    examples: int | None
    test_examples: int | None
    hidden: tuple[int, ...]
    epochs: int
    strengths: tuple[float, ...]
    shares: tuple[float, ...]
    levels: tuple[float, ...]
    squared: int
    epochs_squared: int

    @property
    def recipe(self) -> Recipe:
        """How the networks with cross-entropy are trained."""
        return Recipe(epochs=self.epochs, batch_size=100, lr=0.05, momentum=0.9)

    @property
    def source(self) -> Data:
        """The data, drawn once for all seeds."""
        return Data.named(self.data, examples=self.examples, test_examples=self.test_examples)

    def trial(self, seed: int, *, labels: str, strength: float) -> Trial:
        """Return a trial with DARC1 of a strength, 0 for none."""
        level = LABELS[labels]
        penalties = (DARC1(strength=strength),) if strength else ()
        return Trial(
            data=self.source,
            model=Model.named("mlp", hidden=self.hidden),
            recipe=replace(self.recipe, regularizers=penalties),
            corruption=RandomLabels(probability=level) if level else None,
            seed=seed,
        )


PLANS: dict[Scale, Plan] = {
    "smoke": Plan(
        data="digits",
        examples=500,
        test_examples=300,
        hidden=(48,),
        epochs=20,
        strengths=(JUDGED,),
        shares=(0.2, 0.6),
        levels=(0.0, 0.5, 1.0),
        squared=150,
        epochs_squared=300,
    ),
    "small": Plan(
        data="mnist",
        examples=5000,
        test_examples=5000,
        hidden=(256,),
        epochs=40,
        strengths=(0.01, JUDGED, 1.0),
        shares=(0.05, 0.2, 0.5),
        levels=(0.0, 0.25, 0.5, 0.75, 1.0),
        squared=500,
        epochs_squared=150,
    ),
    "paper": Plan(
        data="mnist",
        examples=None,
        test_examples=None,
        hidden=(1024,),
        epochs=100,
        strengths=(0.001, 0.01, JUDGED, 1.0),
        shares=(0.05, 0.2, 0.4, 0.6, 0.8),
        levels=(0.0, 0.25, 0.5, 0.75, 1.0),
        squared=3000,
        epochs_squared=300,
    ),
}


def entries(scale: Scale, seeds: Sequence[int]) -> list[Entry]:
    """Return the trials with and without DARC1."""
    plan = PLANS[scale]
    return [
        Entry(
            trial=plan.trial(seed, labels=labels, strength=strength),
            place={"labels": labels, "strength": strength},
        )
        for labels in LABELS
        for strength in (0.0, *plan.strengths)
        for seed in seeds
    ]
