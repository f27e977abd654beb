"""The network that memorizes: a projection, ramps, and what it achieves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from ._given_linear import given_linear
from ._projection import project
from ._ramps import Ramps


@final
@dataclass(frozen=True, kw_only=True)
class Achieved:
    r"""How well a network that was constructed fits its examples, in float64.

    Attributes:
        examples: Their number, n.
        weights: Numbers that the network consists of.
        depth: Layers of weights: 2 with a single layer of ReLUs.
        width: ReLUs in the widest layer.
        error: Largest difference between an output and its target.
        gap: Smallest distance between neighbours on the projection that have different targets.
        slope: Largest slope of the network along its projection, in targets a unit.
        exact_projection: Whether $\langle a, x_i \rangle$ is exact in float64 in any order of
            summing. If not, a program that sums in another order finds other values, off by
            `sensitivity` or so.
        sensitivity: Slope times the rounding of the largest projection; 0 where that is exact.
    """

    examples: int
    weights: int
    depth: int
    width: int
    error: float
    gap: float
    slope: float
    exact_projection: bool
    sensitivity: float


@final
class Memorized(nn.Module):
    r"""A ReLU network that fits given examples; `gengap.capacity.memorize` makes it.

    $$c(x) = \sum_j w_j \max(\langle a, x \rangle - b_j, 0)$$

    with one layer of ReLUs (depth 2).

    Deeper, the ramps are dealt out to the layers in the order of their thresholds; each layer hands
    on $\max(\langle a, x \rangle - b_1, 0)$ and the sum so far, so that the function is the same
    with a width of n / (depth - 1) and a few.

    It computes in float64, whatever the inputs' dtype, in O(n log n) for n inputs, and can be
    differentiated and trained. Converted to float32 it is no longer the function it was.

    Attributes:
        direction: a, shape [d].
        stages: The layers of ramps.
        shift: What keeps the sums handed on above zero; shape [outputs], none at depth 2.
        head: Class scores from one number, or None.
        achieved: What it achieved on its examples when it was made; None until then.
    """

    def __init__(
        self,
        direction: Tensor,
        stages: Sequence[Ramps],
        *,
        shift: Tensor | None = None,
        num_classes: int | None = None,
        squeeze: bool = True,
    ) -> None:
        r"""Put the parts together.

        Args:
            direction: a, shape [d].
            stages: Ramps of $\langle a, x \rangle$, the later ones of
                $\max(\langle a, x \rangle - b_1, 0)$.
            shift: Shape [outputs]; needed with several stages.
            num_classes: How many classes the one number stands for, or None.
            squeeze: Whether one output has shape [n] instead of [n, 1].
        """
        super().__init__()
        self.direction = nn.Parameter(direction)
        self.stages: Sequence[Ramps] = nn.ModuleList(stages)  # type: ignore[assignment]
        self.shift = None if shift is None else nn.Parameter(shift)
        self.head = None if num_classes is None else _class_scores(num_classes)
        self.squeeze = squeeze
        self.achieved: Achieved | None = None

    @property
    def num_weights(self) -> int:
        """The numbers that it consists of; ones that only hand values on are not counted."""
        return sum(p.numel() for p in self.parameters())

    @property
    def width(self) -> int:
        """ReLUs in the widest layer, those that hand values on included."""
        outputs = self.stages[0].weights.shape[1]
        last = len(self.stages) - 1
        return max(
            stage.weights.shape[0] + (i < last) + outputs * (i > 0)
            for i, stage in enumerate(self.stages)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs, by prefix sums: shape [n] or [n, outputs], float64."""
        return self._finish(self.numbers(x))

    def plain(self, x: Tensor) -> Tensor:
        """Return the same by products with dense matrices of ReLUs, n^2 numbers for n inputs.

        The same function, with the rounding that such a sum has: about 1e-16 times the sum of the
        absolute terms, which cancel.
        """
        return self._finish(self._sum(x, dense=True))

    def numbers(self, x: Tensor) -> Tensor:
        """Return the sums of ramps of shape [n, outputs], before class scores are made of them."""
        return self._sum(x, dense=False)

    def classify(self, x: Tensor) -> Tensor:
        """Return class indices: the highest score, or the whole number nearest the output."""
        outputs = self(x)
        if self.head is not None or not self.squeeze:
            return outputs.argmax(1)
        return outputs.round().long()

    def _sum(self, x: Tensor, *, dense: bool) -> Tensor:
        t = project(x, self.direction)
        first, *others = self.stages
        total: Tensor = first.plain(t) if dense else first(t)
        if self.shift is None:
            return total
        handed_on = torch.relu(t - first.thresholds[0])
        total = total + self.shift
        for stage in others:
            total = torch.relu(total) + (stage.plain(handed_on) if dense else stage(handed_on))
        return total - self.shift

    def _finish(self, total: Tensor) -> Tensor:
        if self.head is not None:
            scores: Tensor = self.head(total)
            return scores
        return total[:, 0] if self.squeeze else total


def _class_scores(num_classes: int) -> nn.Linear:
    """Return scores k t - k^2 / 2 of classes k, the highest for the k nearest t."""
    k = torch.arange(num_classes, dtype=torch.float64)
    return given_linear(k[:, None], -k.square() / 2)
