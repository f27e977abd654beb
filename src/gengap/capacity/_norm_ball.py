"""Networks whose weights cannot leave a ball."""

import math
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gengap._checks import check_choice, check_positive


@final
class NormBall(nn.Module):
    r"""Scales a tensor back to the ball: $w \min(1, r / \|w\|_p)$; for infinity, clips it."""

    def __init__(self, radius: float = 1.0, norm: float = 2.0) -> None:
        super().__init__()
        check_positive("radius", radius)
        check_choice("norm", norm, (1.0, 2.0, math.inf))
        self.radius, self.norm = radius, norm

    def extra_repr(self) -> str:
        """Describe radius and norm."""
        return f"radius={self.radius:g}, norm={self.norm:g}"

    def forward(self, w: Tensor) -> Tensor:
        """Return the tensor, in the ball."""
        if self.norm == math.inf:
            return w.clamp(-self.radius, self.radius)
        length = torch.linalg.vector_norm(w, ord=self.norm)
        return w * (self.radius / length.clamp_min(self.radius))


def bounded(model: nn.Module, *, radius: float = 1.0, norm: float = 2.0) -> nn.Module:
    """Keep every weight of a network in a ball; the network is changed and returned.

    The norm is that of the weight's entries: Frobenius for p = 2. A linear model without bias
    becomes the class of `linear_complexity`. Biases are not held: build without them.

    Args:
        model: A network of `Linear` and `Conv` layers.
        radius: Largest norm of a weight. Positive.
        norm: p: 1, 2 or infinity.

    Raises:
        ValueError: A layer has a bias, or there is no layer with a weight.
    """
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d)]
    if not layers:
        raise ValueError("`model` must have a Linear or Conv layer; got none.")
    for layer in layers:
        if layer.bias is not None:
            raise ValueError(
                f"`model` must have layers without bias, which no ball holds; got {layer}."
            )
        with torch.no_grad():
            layer.weight.copy_(NormBall(radius, norm)(layer.weight))
        parametrize.register_parametrization(layer, "weight", NormBall(radius, norm))
    return model
