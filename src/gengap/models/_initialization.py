"""Initial weights that keep the size of activations, with biases at zero."""

from typing import Literal

from torch import nn


def initialize(model: nn.Module, kind: Literal["he", "glorot"] = "he") -> None:
    r"""Set the weights of convolutions and linear layers, in place, from torch's generator.

    He's: normal with variance $2 / \mathrm{fan\_in}$, which keeps the second moment through a ReLU;
    $1 / \mathrm{fan\_in}$ for the last linear layer, which no ReLU follows. Glorot's: uniform with
    variance $2 / (\mathrm{fan\_in} + \mathrm{fan\_out})$, which shrinks it and starts flatter.

    Source:
        He, Zhang, Ren and Sun (2015), arXiv:1502.01852; Glorot and Bengio (2010).
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
