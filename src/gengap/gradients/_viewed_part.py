"""Gradients of a parameter of which a layer uses a view: a slice, or another order of it."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ._part import DensePart, Part


@final
@dataclass(frozen=True)
class View:
    """Where the entries of a view of a parameter lie; none of them twice.

    Attributes:
        size: Shape of the view.
        stride: Its strides.
        offset: Its first entry, counted from the parameter's.
        shape: Shape of the parameter.
        strides: The parameter's own strides.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @classmethod
    def of(cls, view: Tensor, param: Tensor) -> "View":
        """Look at a view of a parameter."""
        offset = int(view.storage_offset() - param.storage_offset())
        return cls(tuple(view.shape), view.stride(), offset, tuple(param.shape), param.stride())

    def __call__(self, whole: Tensor) -> Tensor:
        """Return this view of a tensor of the parameter's shape."""
        if whole.stride() != self.strides:
            whole = self._empty(whole).copy_(whole)
        return whole.as_strided(self.size, self.stride, whole.storage_offset() + self.offset)

    def placed(self, values: Tensor) -> Tensor:
        """Return values [*size] at their places in the parameter, zeros elsewhere."""
        whole = self._empty(values).zero_()
        self(whole).copy_(values)
        return whole

    def all_placed(self, rows: Tensor) -> Tensor:
        """Return the same for every row of [b, *size]."""
        length = 1 + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        sizes, strides = (len(rows), *self.shape), (length, *self.strides)
        whole = torch.empty_strided(sizes, strides, dtype=rows.dtype, device=rows.device).zero_()
        views = whole.as_strided((len(rows), *self.size), (length, *self.stride), self.offset)
        views.copy_(rows)
        return whole

    def _empty(self, like: Tensor) -> Tensor:
        return torch.empty_strided(self.shape, self.strides, dtype=like.dtype, device=like.device)


@final
class ViewedPart(Part):
    """The gradients [b, *size] of a view, at their places in the parameter, and zeros elsewhere."""

    def __init__(self, gradients: Tensor, view: View) -> None:
        """Take the view's gradients, and where it lies."""
        self.of_view, self.view = DensePart(gradients), view
        self.shape, self.dtype = torch.Size(view.shape), gradients.dtype

    def squared_norms(self) -> Tensor:
        """Sum the squares of every row."""
        return self.of_view.squared_norms()

    def _squared_norms(self) -> Tensor:
        return self.of_view.squared_norms()

    def sum(self) -> Tensor:
        """Put the sum of the rows in its place."""
        return self.view.placed(self.of_view.sum())

    def sum_of_squares(self) -> Tensor:
        """Put the sum of the squares in its place."""
        return self.view.placed(self.of_view.sum_of_squares())

    def dense(self) -> Tensor:
        """Put every row in its place."""
        return self.view.all_placed(self.of_view.gradients)

    def wide(self, chosen: Tensor | slice) -> "ViewedPart":
        """Take the rows."""
        return ViewedPart(self.of_view.gradients[chosen].double(), self.view)

    def dots(self, direction: Tensor) -> Tensor:
        """Take the view of the direction."""
        return self.of_view.dots(self.view(direction))
