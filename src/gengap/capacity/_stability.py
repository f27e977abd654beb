"""Stability of a training algorithm: how much one example of the sample changes what comes out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from ._bound import said

Kind = Literal["leave-one-out", "replace-one"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Stability:
    """What leaving out, or replacing, single examples changes.

    Losses are in units of the loss, errors in shares. `largest` is the largest loss there can
    be: 1 for errors, NaN where there is no such number, and then no bound follows.

    Attributes:
        kind: "leave-one-out" or "replace-one".
        indices: The examples left out or replaced, int64 [k].
        changes: Loss of each at itself without it less with it, float64 [k].
        shifts: Mean over all evaluated examples of the absolute change of the loss, [k].
        peaks: Largest absolute change over all evaluated examples, [k].
        seed_shift: `shifts` between two seeds on the same sample; NaN if not measured.
        gap: Test loss less training loss of the network trained on all; NaN without a test half.
        n: Examples trained on.
        largest: The largest loss there can be.
        confidence: Of `gap_bound`.
        reasons: What happened to runs that did not end well, or nothing.
    """

    kind: Kind
    indices: Tensor
    changes: Tensor
    shifts: Tensor
    peaks: Tensor
    seed_shift: float
    gap: float
    n: int
    largest: float
    confidence: float = 0.95
    reasons: Sequence[str] = ()

    @property
    def on_average(self) -> float:
        """On-average stability: mean change at the example itself.

        Replacing: an unbiased estimate of the expected gap at n examples. Leaving out: of the
        expected risk at n - 1 examples less the training loss at n.
        """
        return float(self.changes.mean())

    @property
    def standard_error(self) -> float:
        """Of `on_average`, over the examples tried; the sample itself is one."""
        k = len(self.changes)
        return float(self.changes.std()) / k**0.5 if k > 1 else math.nan

    @property
    def hypothesis(self) -> float:
        """Pointwise hypothesis stability: mean absolute change at the example itself."""
        return float(self.changes.abs().mean())

    @property
    def uniform(self) -> float:
        """Largest change seen anywhere: a lower bound on uniform stability."""
        return float(torch.maximum(self.peaks, self.changes.abs()).max())

    @property
    def gap_bound(self) -> float:
        r"""The bound on the gap if uniform stability beta were what was seen: at least that.

        $\beta + (2 n \beta + M) \sqrt{\ln(1 / \delta) / (2 n)}$ for replacing; for leaving out
        with $2 \beta$ in the place of beta.

        Source:
            Bousquet and Elisseeff (2002), Stability and generalization, theorem 12.
        """
        beta = self.uniform * (2 if self.kind == "leave-one-out" else 1)
        spread = math.sqrt(math.log(1 / (1 - self.confidence)) / (2 * self.n))
        return beta + (2 * self.n * beta + self.largest) * spread

    @property
    def vacuous(self) -> bool:
        """Whether the bound from uniform stability is at least the largest loss."""
        return not self.gap_bound < self.largest

    @property
    def sentence(self) -> str:
        """Say what was found, and whether a bound from it says anything."""
        found = (
            f"By {self.kind}, one example moves the loss by up to {self.uniform:.3g} somewhere "
            f"and by {self.on_average:.3g} on average at itself"
        )
        if math.isnan(self.largest):
            return f"{found}; the loss has no largest value, so that no bound follows."
        what = "a bound on the gap from uniform stability, of the largest loss,"
        return f"{found}; {said(what, self.gap_bound / self.largest)}"

    def __repr__(self) -> str:
        return (
            f"Stability({self.kind}, on_average={self.on_average:.4g}, "
            f"standard_error={self.standard_error:.2g}, uniform={self.uniform:.4g}, n={self.n})"
        )
