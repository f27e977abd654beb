"""Learning-rate schedules: the factor on the learning rate as a function of the step."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

from gengap._checks import check_count, check_positive, keep_counts


class Schedule(ABC):
    """A factor on the learning rate, a function of the step.

    Concrete schedules are frozen dataclasses of plain data.
    """

    @abstractmethod
    def __call__(self, step: int, /, *, steps_per_epoch: int, total_steps: int) -> float:
        """Return the factor at `step`, counted from 0."""


@final
@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """The factor 1 at every step."""

    def __call__(self, step: int, /, *, steps_per_epoch: int, total_steps: int) -> float:
        """Return 1."""
        return 1.0


@final
@dataclass(frozen=True, kw_only=True)
class Exponential(Schedule):
    r"""The factor $r^{\lfloor t / T \rfloor}$ at step $t$.

    Attributes:
        rate: The factor $r$ of one decay. Positive.
        every: Steps $T$ between decays; None means one epoch.

    Source:
        Zhang et al. (2017), arXiv:1611.03530, appendix A: 0.95 an epoch. On fewer examples keep
        the schedule in steps: `every=390` is an epoch of 50,000 examples in batches of 128.
    """

    rate: float = 0.95
    every: int | None = None

    def __post_init__(self) -> None:
        check_positive("rate", self.rate)
        keep_counts(self, "every", optional=True)

    def __call__(self, step: int, /, *, steps_per_epoch: int, total_steps: int) -> float:
        """Return the factor at `step`."""
        return self.rate ** (step // (self.every or steps_per_epoch))


@final
@dataclass(frozen=True, kw_only=True)
class Step(Schedule):
    """The factor `rate` to the number of milestones passed.

    Attributes:
        milestones: Epochs at whose start the learning rate is multiplied by `rate`.
        rate: The factor of one milestone. Positive.
    """

    milestones: tuple[int, ...]
    rate: float = 0.1

    def __post_init__(self) -> None:
        check_positive("rate", self.rate)
        epochs = tuple(check_count("milestones", epoch) for epoch in self.milestones)
        object.__setattr__(self, "milestones", epochs)

    def __call__(self, step: int, /, *, steps_per_epoch: int, total_steps: int) -> float:
        """Return the factor at `step`."""
        epoch = step // steps_per_epoch
        return self.rate ** sum(epoch >= milestone for milestone in self.milestones)


@final
@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    r"""The factor $\tfrac{1}{2} (1 + \cos(\pi t / T))$ at step $t$ of $T$."""

    def __call__(self, step: int, /, *, steps_per_epoch: int, total_steps: int) -> float:
        """Return the factor at `step`."""
        return 0.5 * (1 + math.cos(math.pi * min(1.0, step / total_steps)))
