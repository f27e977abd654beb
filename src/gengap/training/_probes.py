"""What is measured while a network trains, beside losses and accuracies."""

import math
from dataclasses import dataclass
from typing import final

from gengap._checks import keep_counts


@final
@dataclass(frozen=True, kw_only=True)
class Probes:
    """What is measured while a network trains, beside losses and accuracies.

    Probes look and never touch: training does the same arithmetic with and without them.

    Attributes:
        coherence: Examples of the fixed sample on which m-coherence is measured; None for no
            measurement, and all examples where there are fewer. Cost: one gradient of the sample
            a measurement.
        examples: Learning times, forgetting, mean margin, loss and probabilities of every training
            example, from the pass that evaluates the train half anyway. Memory: n c numbers.
        first_steps: m-coherence is measured before training and after each of so many first steps.
        growth: After these it is measured at steps that grow by this factor, above 1.
        every: It is measured at each evaluated epoch too, or at each second, third, ... of them.
        null_worlds: How many random designations of the sample's examples as clean and corrupted,
            in their true numbers and the same at every measurement, have their shares of the
            gradient measured; they go with `coherence`. Cost: one more pass a measurement.
        top: Also the share of targets among so many of the largest outputs, as the columns
            `train_top5_accuracy` and `test_top5_accuracy` for 5; None for neither.
    """

    coherence: int | None = None
    examples: bool = False
    first_steps: int = 10
    growth: float = 1.25
    every: int = 1
    null_worlds: int = 0
    top: int | None = None

    def __post_init__(self) -> None:
        keep_counts(self, "coherence", "top", optional=True)
        if not isinstance(self.examples, bool):
            raise TypeError(f"`examples` must be True or False; got {self.examples!r}.")
        keep_counts(self, "every")
        keep_counts(self, "first_steps", "null_worlds", least=0)
        if self.null_worlds and self.coherence is None:
            raise ValueError(
                f"`null_worlds` must go with `coherence`, whose sample they divide; got "
                f"{self.null_worlds} and None. Say how many examples to measure."
            )
        if not (math.isfinite(self.growth) and self.growth > 1):
            raise ValueError(f"`growth` must be above 1 and finite; got {self.growth!r}.")

    def is_due(self, step: int) -> bool:
        """Return whether m-coherence is measured after so many steps, wherever epochs end."""
        if step <= self.first_steps:
            return True
        start = max(1, self.first_steps)
        k = math.log(step / start) / math.log(self.growth)
        return any(round(start * self.growth**i) == step for i in (math.floor(k), math.ceil(k)))
