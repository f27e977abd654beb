"""Gradients of every example of a batch with respect to one parameter, kept in factored form."""

from abc import ABC, abstractmethod
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from gengap._linear import linear

from ._row_sums import in_range, row_dots, row_gram, squared_row_norms, weighted_row_sums


class Part(ABC):
    """Per-example gradients [b, *shape] of one parameter, as a layer's backward pass gives them.

    What each method costs depends on the factors; `dense` is the one that materializes.

    Attributes:
        shape: Shape of the parameter.
        dtype: Precision of the factors.
    """

    shape: torch.Size
    dtype: torch.dtype

    def squared_norms(self) -> Tensor:
        """Return the squared norm of every example's gradient, float64 [b]."""
        found = self._squared_norms()
        if self.dtype == torch.float64:
            return found
        return in_range(found, lambda odd: self.wide(odd)._squared_norms())

    @abstractmethod
    def _squared_norms(self) -> Tensor:
        """Return them as they come in the factors' precision."""

    @abstractmethod
    def sum(self) -> Tensor:
        """Return the sum over the examples, [*shape]: the ordinary gradient."""

    def add_sum_to(self, total: Tensor) -> None:
        """Add the sum over the examples to a tensor [*shape]."""
        total.add_(self.sum())

    @abstractmethod
    def dense(self) -> Tensor:
        """Return the gradients themselves, [b, *shape]."""

    def sum_of_squares(self) -> Tensor:
        """Return the sum over the examples of the square of every entry, float64 [*shape]."""
        return self.dense().double().square().sum(0)

    def rows(self) -> Tensor:
        """Return the gradients as vectors, [b, p]."""
        gradients = self.dense()
        return gradients.reshape(len(gradients), self.shape.numel())

    def dots(self, direction: Tensor) -> Tensor:
        """Return inner products with a direction [*shape], float64 [b]."""
        return weighted_row_sums(self.rows(), direction.flatten())

    @abstractmethod
    def wide(self, chosen: Tensor | slice) -> "Part":
        """Return the gradients of chosen examples, a slice or bool [b], in float64."""

    def sequence(self) -> "SequencePart | None":
        """Return the same gradients as sums of outer products; None where they are not."""
        return None

    def gram(self) -> Tensor:
        """Return all inner products of two examples, float64 [b, b]."""
        return row_gram(self.rows())


class DensePart(Part):
    """Gradients that are already there."""

    def __init__(self, gradients: Tensor) -> None:
        """Take gradients [b, *shape], of a table made with `sparse=True` too."""
        self.was_sparse = gradients.is_sparse
        self.gradients = gradients.to_dense() if self.was_sparse else gradients
        self.shape, self.dtype = gradients.shape[1:], gradients.dtype

    def _squared_norms(self) -> Tensor:
        return squared_row_norms(self.rows())

    def wide(self, chosen: Tensor | slice) -> "DensePart":
        """Take the rows."""
        return DensePart(self.gradients[chosen].double())

    def sum(self) -> Tensor:
        """Sum the rows."""
        return self.gradients.sum(0)

    def dense(self) -> Tensor:
        """Return what is there."""
        return self.gradients


@final
class DeltaPart(DensePart):
    """Output gradients, whose norms are asked for twice: by the weight and by the bias."""

    @cached_property
    def _norms(self) -> Tensor:
        return super().squared_norms()

    def squared_norms(self) -> Tensor:
        """Sum the squares of every row, once."""
        return self._norms


class OuterPart(Part):
    r"""One outer product an example: $g_i = \delta_i a_i^\top$, as in a linear layer.

    $\|g_i\|^2 = \|\delta_i\|^2 \|a_i\|^2$, and the sum is one matrix product.
    """

    def __init__(self, inputs: Tensor, deltas: Tensor) -> None:
        """Take inputs [b, d] and output gradients [b, o]."""
        self.inputs, self.deltas = inputs, deltas
        self.shape = torch.Size((deltas.shape[1], inputs.shape[1]))
        self.dtype = deltas.dtype

    @cached_property
    def bias(self) -> "DeltaPart":
        """The gradients of the bias: the output gradients."""
        return DeltaPart(self.deltas)

    def squared_norms(self) -> Tensor:
        """Multiply two squared norms."""
        return DensePart(self.inputs).squared_norms() * self.bias.squared_norms()

    def _squared_norms(self) -> Tensor:
        return self.squared_norms()

    def wide(self, chosen: Tensor | slice) -> "OuterPart":
        """Take both factors."""
        return OuterPart(self.inputs[chosen].double(), self.deltas[chosen].double())

    def sum(self) -> Tensor:
        """Multiply two matrices, [o, d]."""
        return linear(self.deltas.T, self.inputs.T)

    def sequence(self) -> "SequencePart":
        """Return sequences of length one."""
        return SequencePart(self.inputs.unsqueeze(1), self.deltas.unsqueeze(1))

    def sum_of_squares(self) -> Tensor:
        """Multiply the squares of two matrices, float64 [o, d]."""
        return self.deltas.double().square().T @ self.inputs.double().square()

    def dense(self) -> Tensor:
        """Return the outer products, [b, o, d]."""
        return self.deltas.unsqueeze(2) * self.inputs.unsqueeze(1)

    def dots(self, direction: Tensor) -> Tensor:
        """Apply the direction as weights."""
        return row_dots(linear(self.inputs, direction.to(self.inputs.dtype)), self.deltas)

    def gram(self) -> Tensor:
        """Return all inner products of two examples, float64 [b, b]."""
        return row_gram(self.inputs) * row_gram(self.deltas)


class SequencePart(Part):
    r"""A sum of outer products an example: $g_i = \sum_t \delta_{it} a_{it}^\top$.

    Squared norms come from whichever is cheaper: the gradients themselves, or
    $\sum_{s,t} (a_{is} \cdot a_{it}) (\delta_{is} \cdot \delta_{it})$.
    """

    def __init__(self, inputs: Tensor, deltas: Tensor, shape: torch.Size | None = None) -> None:
        """Take inputs [b, t, d], output gradients [b, t, o], and the shape if not (o, d)."""
        self.inputs, self.deltas = inputs, deltas
        self.shape = shape or torch.Size((deltas.shape[2], inputs.shape[2]))
        self.dtype = deltas.dtype
        _, t, d = inputs.shape
        self.by_gram = gram_is_cheaper(t, d, deltas.shape[2])

    @cached_property
    def gradients(self) -> Tensor:
        """The materialized gradients, [b, o, d]; of float16 in float32, which holds them."""
        if self.dtype == torch.float16:
            return self.deltas.float().mT @ self.inputs.float()
        return self.deltas.mT @ self.inputs

    def _squared_norms(self) -> Tensor:
        """Take the cheaper of the two forms."""
        if not self.by_gram:
            return squared_row_norms(self.rows())
        wide = torch.promote_types(self.dtype, torch.float32)
        inputs, deltas = self.inputs.to(wide), self.deltas.to(wide)
        between_inputs, between_deltas = inputs @ inputs.mT, deltas @ deltas.mT
        return row_dots(between_inputs.flatten(1), between_deltas.flatten(1)).clamp(min=0)

    def sum(self) -> Tensor:
        """Multiply two matrices, or sum the gradients where they are there."""
        if not self.by_gram:
            return self.gradients.sum(0).view(self.shape)
        product = linear(self.deltas.flatten(0, 1).T, self.inputs.flatten(0, 1).T)
        return product.view(self.shape)

    def sequence(self) -> "SequencePart":
        """Return itself."""
        return self

    def sum_of_squares(self) -> Tensor:
        """Materialize a few examples' gradients after the others', float64 [*shape]."""
        _, t, d = self.inputs.shape
        if t == 1:
            return OuterPart(self.inputs[:, 0], self.deltas[:, 0]).sum_of_squares().view(self.shape)
        few = max(1, _SQUARED_AT_ONCE // (d * self.deltas.shape[2]))
        total = self.deltas.new_zeros(self.deltas.shape[2], d, dtype=torch.float64)
        for inputs, deltas in zip(self.inputs.split(few), self.deltas.split(few), strict=True):
            total += (deltas.mT @ inputs).double().square().sum(0)
        return total.view(self.shape)

    def dense(self) -> Tensor:
        """Return the sums of outer products, [b, *shape]."""
        return self.gradients.view(-1, *self.shape)

    def wide(self, chosen: Tensor | slice) -> "SequencePart":
        """Take both factors."""
        inputs, deltas = self.inputs[chosen].double(), self.deltas[chosen].double()
        return SequencePart(inputs, deltas, self.shape)

    def dots(self, direction: Tensor) -> Tensor:
        """Apply the direction as weights."""
        applied = linear(self.inputs, direction.to(self.inputs.dtype).flatten(1))
        return row_dots(applied.flatten(1), self.deltas.flatten(1))


def gram_is_cheaper(t: int, d: int, o: int) -> bool:
    """Whether t^2 (d + o) products cost less than gradients of d times o entries.

    An entry that is written and read costs as much as a dozen products.
    """
    return t * t * (d + o) < _DENSE_COST * d * o


_DENSE_COST = 12
_SQUARED_AT_ONCE = 1 << 22
"""Entries of gradients that are there at once while their squares are summed."""
