"""Gradients of a parameter of which a layer uses a view: a slice, or another order of it."""

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from ._part import DensePart, Part

View = Callable[[Tensor], Tensor]


@final
class ViewedPart(Part):
    """The gradients [b, ...] of a view, at their places in the parameter, and zeros elsewhere.

    The view holds an entry of the parameter once at most, so that norms are those of its own
    gradients.
    """

    def __init__(self, gradients: Tensor, view: View, shape: torch.Size) -> None:
        """Take the view's gradients, what makes it of the parameter, and the latter's shape."""
        self.of_view, self.view = DensePart(gradients), view
        self.shape, self.dtype = shape, gradients.dtype

    def squared_norms(self) -> Tensor:
        """Sum the squares of every row."""
        return self.of_view.squared_norms()

    def _squared_norms(self) -> Tensor:
        return self.of_view.squared_norms()

    def sum(self) -> Tensor:
        """Put the sum of the rows in its place."""
        return self._placed(self.of_view.sum())

    def sum_of_squares(self) -> Tensor:
        """Put the sum of the squares in its place."""
        return self._placed(self.of_view.sum_of_squares())

    def dense(self) -> Tensor:
        """Put every row in its place."""
        return torch.stack([self._placed(row) for row in self.of_view.gradients])

    def wide(self, chosen: Tensor | slice) -> "ViewedPart":
        """Take the rows."""
        return ViewedPart(self.of_view.gradients[chosen].double(), self.view, self.shape)

    def dots(self, direction: Tensor) -> Tensor:
        """Take the view of the direction."""
        return self.of_view.dots(self.view(direction))

    def _placed(self, values: Tensor) -> Tensor:
        whole = values.new_zeros(self.shape)
        self.view(whole).copy_(values)
        return whole
