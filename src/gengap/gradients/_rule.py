"""How a layer's operation is run and differentiated, example by example."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

from torch import Tensor

from ._part import Part

Kept = tuple[Tensor, ...]


@final
@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the examples of a batch lie in a layer's input and output.

    Attributes:
        examples: Number of examples b; None takes the length of the axis.
        axis: Axis of the examples. Where its length is a multiple k b, example i owns the rows
            i k to (i + 1) k.
    """

    examples: int | None = None
    axis: int = 0

    def fits(self, values: Tensor) -> bool:
        """Whether a tensor has the examples on this axis."""
        if values.ndim <= self.axis:
            return False
        length = values.shape[self.axis]
        return self.examples is None or (length > 0 and length % self.examples == 0)

    def rows(self, values: Tensor) -> Tensor:
        """Return a tensor with the examples first: [b, ...], or [b, k, ...] for k rows each."""
        if self.axis:
            values = values.movedim(self.axis, 0)
        if self.examples is None or len(values) == self.examples:
            return values
        return values.unflatten(0, (self.examples, -1))


class Rule(ABC):
    """One operation of an input and parameters, and its derivatives kept apart by example."""

    @abstractmethod
    def forward(self, x: Tensor, *params: Tensor | None) -> tuple[Tensor, Kept]:
        """Return the output, as PyTorch computes it, and what else `backward` needs."""

    @abstractmethod
    def backward(
        self,
        delta: Tensor,
        x: Tensor,
        params: tuple[Tensor | None, ...],
        kept: Kept,
        *,
        layout: Layout,
        wanted: tuple[bool, ...],
    ) -> tuple[Tensor | None, tuple[Part | None, ...]]:
        """Return the gradient of the input, and a part for every parameter that is wanted.

        Args:
            delta: Gradient of the summed loss with respect to the output.
            x: The input.
            params: The parameters, as given to `forward`.
            kept: What `forward` kept.
            layout: Where the examples are.
            wanted: Whether the input's gradient is wanted, then each parameter's.
        """
