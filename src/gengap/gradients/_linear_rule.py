"""The linear layer, on vectors and on sequences."""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from gengap._linear import linear

from ._part import DensePart, OuterPart, Part, SequencePart
from ._rule import Kept, Layout, Rule


@final
@dataclass(frozen=True)
class LinearRule(Rule):
    """`x @ weight.T + bias` over the last axis.

    Attributes:
        turned: Whether the weight is [d, o], as in `x @ weight`.
    """

    turned: bool = False

    def keeps_input(self, params: tuple[Tensor | None, ...]) -> bool:
        """Nothing but the weight's gradient does; else it may be changed in place."""
        weight, _ = params
        return weight is not None and weight.requires_grad

    def forward(self, x: Tensor, *params: Tensor | None) -> tuple[Tensor, Kept]:
        """Apply weight [o, d] and bias [o]."""
        weight, bias = params
        assert weight is not None
        return linear(x, weight.T if self.turned else weight, bias), ()

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
        """Keep inputs and output gradients apart, for the parts to multiply."""
        weight, _ = params
        assert weight is not None
        x, weight = x.to(delta.dtype), weight.to(delta.dtype)
        back = linear(delta, weight if self.turned else weight.T) if wanted[0] else None
        inputs, deltas = layout.rows(x), layout.rows(delta)
        if inputs.ndim == 2:
            outer = OuterPart(deltas, inputs) if self.turned else OuterPart(inputs, deltas)
            bias = DensePart(deltas) if self.turned else outer.bias
            return back, (outer if wanted[1] else None, bias if wanted[2] else None)
        inputs, deltas = inputs.flatten(1, -2), deltas.flatten(1, -2)
        factors = (deltas, inputs) if self.turned else (inputs, deltas)
        part = SequencePart(*factors) if wanted[1] else None
        return back, (part, DensePart(deltas.sum(1)) if wanted[2] else None)
