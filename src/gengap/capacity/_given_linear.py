"""A linear layer of given weights, made without drawing others first."""

from torch import Tensor, nn


def given_linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """Return a layer of copies of a weight, shape [outputs, inputs], and a bias, zero if None."""
    rows, columns = weight.shape
    layer = nn.Linear(columns, rows, dtype=weight.dtype, device="meta")
    layer.weight = nn.Parameter(weight.clone())
    layer.bias = nn.Parameter(weight.new_zeros(rows) if bias is None else bias.clone())
    return layer
