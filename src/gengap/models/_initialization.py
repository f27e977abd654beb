"""Initial weights that keep the size of activations, with biases at zero."""

from torch import nn


def initialize(model: nn.Module) -> None:
    r"""Set the weights of convolutions and linear layers, in place, from torch's generator.

    He's: normal with variance $2 / \mathrm{fan\_in}$, which keeps the second moment through a ReLU;
    $1 / \mathrm{fan\_in}$ for the last linear layer, which no ReLU follows.

    Source:
        He, Zhang, Ren and Sun (2015), arXiv:1502.01852.
    """
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    for layer in layers:
        last = layer is layers[-1]
        nn.init.kaiming_normal_(layer.weight, nonlinearity="linear" if last else "relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
