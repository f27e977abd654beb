"""Linear layers whose products, forward and backward, have the rate that the processor has."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from gengap._linear import has_faster_product, linear


class _Product(torch.autograd.Function):
    r"""$x w^\top + b$, whose derivatives are $g w$, $g^\top x$ and $\sum g$."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        (g,) = gradients
        to_x, to_weight, to_bias = ctx.needs_input_grad
        rows, inputs = g.reshape(-1, g.shape[-1]), x.reshape(-1, x.shape[-1])
        return (
            linear(g, weight.T) if to_x else None,
            linear(rows.T, inputs.T) if to_weight else None,
            rows.sum(0) if to_bias else None,
        )


class QuickLinear(nn.Linear):
    """A linear layer that takes `gengap._linear`'s products where they gain."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's outputs, [..., o]."""
        if has_faster_product(x, self.weight, self.bias):
            found: Tensor = _Product.apply(x, self.weight, self.bias)
            return found
        return super().forward(x)


def quicken(model: nn.Module) -> None:
    """Give every plain linear layer of `model` these products, in place."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = QuickLinear
