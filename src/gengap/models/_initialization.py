"""Initial weights that keep the size of activations, with biases at zero."""

from typing import Literal

from torch import nn

Initialization = Literal["he", "glorot"]


def initialize(model: nn.Module, kind: Initialization) -> None:
    r"""Set the weights of convolutions and linear layers, in place, from torch's generator.

    He: normal, variance $2 / \mathrm{fan\_in}$, which keeps the second moment through a ReLU; the
    last linear layer, which no ReLU follows, gets $1 / \mathrm{fan\_in}$. Glorot: uniform,
    variance $2 / (\mathrm{fan\_in} + \mathrm{fan\_out})$, the default of the papers' TensorFlow.
    """
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    for layer in layers:
        if kind == "glorot":
            nn.init.xavier_uniform_(layer.weight)
        else:
            last = layer is layers[-1]
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear" if last else "relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
