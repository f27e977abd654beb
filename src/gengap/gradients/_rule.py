"""How a layer's operation is run and differentiated, example by example."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

from torch import Tensor

from ._part import Part

Kept = tuple[Tensor, ...]
Axes = tuple[int | None, ...]
"""The axis of the examples in each tensor; None where all examples have it in common."""


@final
@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the examples of a batch lie in a layer's input and output.

    Attributes:
        examples: Number of examples b; None takes the length of the axis.
        axis: Axis of the examples. Its length is b or a multiple of it.
        outer: How many times the rows of all examples follow each other: the axis, of length
            k b, is [outer, b, k / outer]. 1 where example i owns the rows i k to (i + 1) k, k
            where it owns every b-th; 0 where nobody knows.
    """

    examples: int | None = None
    axis: int = 0
    outer: int = 1

    def fits(self, values: Tensor) -> bool:
        """Whether a tensor has the examples on this axis, in a known order."""
        if values.ndim <= self.axis:
            return False
        length = values.shape[self.axis]
        if self.examples is None or not self.outer:
            return self.outer > 0
        return length > 0 and length % (self.examples * self.outer) == 0

    def why_not(self, values: Tensor) -> str:
        """Return why a tensor does not fit, for a sentence that names its layer."""
        if self.outer or values.ndim <= self.axis:
            return f"axis {self.axis} does not hold the {self.examples} examples"
        rows = values.shape[self.axis]
        of = "how many" if self.examples is None else f"which of the {self.examples}"
        return f"nothing shows to {of} examples its {rows} rows belong"

    def rows(self, values: Tensor) -> Tensor:
        """Return a tensor with the examples first: [b, ...], or [b, k, ...] for k rows each."""
        if self.axis:
            values = values.movedim(self.axis, 0)
        if self.examples is None or len(values) == self.examples:
            return values
        if self.outer == 1:
            return values.unflatten(0, (self.examples, -1))
        return values.unflatten(0, (self.outer, self.examples, -1)).movedim(1, 0).flatten(1, 2)

    def in_order(self, values: Tensor) -> Tensor:
        """Return a tensor whose first axis holds an example's rows one after the other."""
        if self.outer > 1:
            return self.rows(values).flatten(0, 1)
        return values.movedim(self.axis, 0) if self.axis else values

    def back_in_place(self, rows: Tensor, like: Tensor) -> Tensor:
        """Return [b, k, ...] as rows on the first axis, where they were."""
        if self.outer > 1:
            rows = rows.unflatten(1, (self.outer, -1)).movedim(1, 0)
        return rows.reshape(like.shape)


class Rule(ABC):
    """One operation of an input and parameters, and its derivatives kept apart by example."""

    def keeps_input(self, params: tuple[Tensor | None, ...]) -> bool:
        """Whether `backward` needs the values of the input, beside its shape."""
        del params
        return True

    @abstractmethod
    def forward(self, x: Tensor, *params: Tensor | None) -> tuple[Tensor, Kept]:
        """Return the output, as PyTorch computes it, and what else `backward` needs."""

    def as_autograd_gives_it(self, gradient: Tensor, x: Tensor) -> Tensor:
        """Return the gradient of a parameter in the layout that PyTorch gives it."""
        del x
        return gradient

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
