"""A parameter added to, or multiplied with, what a batch of examples gives."""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from ._part import DensePart, Part
from ._rule import Kept, Layout, Rule
from ._viewed_part import View, ViewedPart


@final
@dataclass(frozen=True, kw_only=True)
class ElementwiseRule(Rule):
    """`x + parameter` or `x * parameter`, the parameter broadcast to the shape of x.

    Attributes:
        product: Whether it is a product.
        view: Which view of the parameter is used; None uses the parameter.
    """

    product: bool
    view: View | None = None

    def keeps_input(self, params: tuple[Tensor | None, ...]) -> bool:
        """A sum does not; what goes into it may be changed in place."""
        (param,) = params
        return self.product and param is not None and param.requires_grad

    def forward(self, x: Tensor, *params: Tensor | None) -> tuple[Tensor, Kept]:
        """Add or multiply."""
        (param,) = params
        assert param is not None
        param = param if self.view is None else self.view(param)
        return x * param if self.product else x + param, ()

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
        """Sum over an example's positions that share an entry of the parameter."""
        (whole,) = params
        assert whole is not None
        param = whole if self.view is None else self.view(whole)
        back = delta * param if self.product else delta
        if not wanted[1]:
            return back.to(x.dtype), (None,)
        rows = layout.in_order(delta * x if self.product else delta)
        shape = [1] * (x.ndim - param.ndim) + list(param.shape)
        shape.insert(0, shape.pop(layout.axis))
        axes = [i for i in range(1, x.ndim) if shape[i] == 1 < rows.shape[i]]
        rows = rows.sum(axes, keepdim=True) if axes else rows
        examples = layout.examples or len(rows)
        rows = rows.unflatten(0, (examples, len(rows) // max(1, examples))).sum(1)
        rows = rows.reshape(len(rows), *param.shape)
        if self.view is None:
            return back.to(x.dtype), (DensePart(rows),)
        return back.to(x.dtype), (ViewedPart(rows, self.view),)


def fits_elementwise(x: Tensor, param: Tensor, axis: int) -> bool:
    """Whether a parameter is broadcast to x, along the axis of the examples too."""
    if param.ndim > x.ndim:
        return False
    shape = [1] * (x.ndim - param.ndim) + list(param.shape)
    same = all(p in {1, s} for p, s in zip(shape, x.shape, strict=True))
    return same and axis < x.ndim and shape[axis] == 1
