"""Path weights and path features of a ReLU perceptron, by products, never written out."""

import copy

import torch
from torch import Tensor, nn

from gengap.models import FrozenActivations, Gate


def layers_of(model: nn.Module) -> tuple[list[nn.Linear], list[nn.Linear]]:
    """Return the linear layers whose signs switch the units, and those that carry the weights.

    The two are the same but for `FrozenActivations`.

    Raises:
        ValueError: The model is not a perceptron with ReLU after every layer but the last.
    """
    if isinstance(model, FrozenActivations):
        return _linear_layers(model.gates), _linear_layers(model.values)
    layers = _linear_layers(model)
    return layers, layers


def _linear_layers(model: nn.Module) -> list[nn.Linear]:
    layers: list[nn.Linear] = []
    awaits_unit = False
    leaves = [m for m in model.modules() if next(m.children(), None) is None]
    nested = [m for m in model.modules() if next(m.children(), None) is not None]
    plain = all(type(m) is nn.Sequential for m in nested)
    for leaf in leaves if plain else []:
        if isinstance(leaf, nn.Linear) and not awaits_unit:
            layers.append(leaf)
            awaits_unit = True
        elif isinstance(leaf, nn.ReLU | Gate) and awaits_unit:
            awaits_unit = False
        elif not isinstance(leaf, nn.Flatten | nn.Identity | nn.Dropout):
            plain = False
    if not (plain and layers and awaits_unit):
        raise ValueError(
            "`model` must be a perceptron: nn.Sequential of Linear layers with one ReLU between "
            f"two, for its paths to be counted; got {type(model).__name__}."
        )
    return [copy.deepcopy(layer).double() for layer in layers]


@torch.no_grad()
def count_paths(layers: list[nn.Linear]) -> int:
    """Return how many path features an output has, those that start at a bias included."""
    ways = layers[0].in_features
    for layer in layers:
        started = ways + (layer.bias is not None)
        ways = started * layer.out_features
    return started


@torch.no_grad()
def patterns(layers: list[nn.Linear], x: Tensor) -> list[Tensor]:
    """Return which units of every hidden layer are on, 0 or 1, [n, width] each."""
    found = []
    for layer in layers[:-1]:
        x = layer(x)
        found.append((x > 0).double())
        x = x * found[-1]
    return found


@torch.no_grad()
def path_gram(layers: list[nn.Linear], x: Tensor) -> Tensor:
    r"""Return the inner products of the path features of n examples, [n, n], float64.

    A path from input i through hidden units has the feature $x_i \prod_l \sigma_l(x)$; one that
    starts at the bias of a layer has 1 in the place of $x_i$ and only the units after it. Their
    inner products factor over the layers:
    $K_0 = x \cdot x'$, $K_l = (K_{l-1} + 1) \, \sigma_l(x) \cdot \sigma_l(x')$, and 1 more for
    the bias of the last layer; without a bias, without the 1.

    Args:
        layers: Those that switch the units.
        x: Inputs, [n, d], float64.
    """
    gram = x @ x.T
    for layer, on in zip(layers, [*patterns(layers, x), None], strict=True):
        if layer.bias is not None:
            gram += 1
        if on is not None:
            gram *= on @ on.T
    return gram


@torch.no_grad()
def path_norm_squared(layers: list[nn.Linear]) -> float:
    """Return the sum over outputs and paths of squared path weights, by one forward pass."""
    total = torch.ones(layers[0].in_features, dtype=torch.float64)
    for layer in layers:
        total = layer.weight.square() @ total
        if layer.bias is not None:
            total = total + layer.bias.square()
    return float(total.sum())


@torch.no_grad()
def largest_feature_norm_squared(layers: list[nn.Linear], radius: float) -> float:
    """Return what the squared norm of path features cannot exceed on inputs within a radius."""
    norm = radius**2
    for layer in layers[:-1]:
        norm = (norm + (layer.bias is not None)) * layer.out_features
    return norm + (layers[-1].bias is not None)
