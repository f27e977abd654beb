"""Multi-layer perceptrons as batched matrix products, without autograd.

For small networks most of a training step is overhead: of the interpreter, of the graph, and of
page faults on fresh memory. This program writes every product into memory it already holds.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from gengap._linear import stacked_linear
from gengap.data import Part
from gengap.optim import penalties, ranked_products, ranked_rows

from ._dropout import SeededDropout
from ._losses import mean_over_batch, per_example_losses
from ._own_calls import calls_its_class, hooks_everywhere
from ._program import Program
from ._recipe import Recipe

_Key = tuple[int, int]


@dataclass
class _Layer:
    """One affine layer and what follows it."""

    weight: str
    bias: str | None
    relu: bool = False
    dropout: SeededDropout | None = None


def perceptron_layers(model: nn.Module) -> list[_Layer] | None:
    """Return the layers of a plain perceptron, or None where `model` is anything else.

    Plain: a sequence, nested or not, of Flatten (first), Linear, ReLU, dropout and Identity, with
    at most one ReLU and then at most one dropout after each but the last Linear; without hooks,
    methods that stand on one module alone, and parameters that are not those of the Linears.
    """
    if hooks_everywhere() or not all(calls_its_class(module) for module in model.modules()):
        return None
    layers: list[_Layer] = []
    for name, module in _leaf_modules(model):
        kind = type(module)
        if kind is nn.Identity or (kind is SeededDropout and module.p == 0):
            continue
        if kind is nn.Linear:
            within = f"{name}." if name else ""  # the network may be the layer itself
            bias = f"{within}bias" if module.bias is not None else None
            layers.append(_Layer(weight=f"{within}weight", bias=bias))
        elif kind is nn.Flatten and not layers and (module.start_dim, module.end_dim) == (1, -1):
            continue
        elif kind is nn.ReLU and layers and not layers[-1].relu and not layers[-1].dropout:
            layers[-1].relu = True
        elif kind is SeededDropout and layers and not module.channels:
            if layers[-1].dropout:
                return None
            layers[-1].dropout = cast(SeededDropout, module)
        else:
            return None
    parameters = list(model.named_parameters(remove_duplicate=False))
    plain = (
        layers
        and not (layers[-1].relu or layers[-1].dropout)
        and len({id(p) for _, p in parameters}) == len(parameters)
        and all(p.requires_grad and p.dtype == torch.float32 for _, p in parameters)
        and {name for name, _ in parameters} == _named(layers)
    )
    return layers if plain else None


def _named(layers: list[_Layer]) -> set[str]:
    return {name for layer in layers for name in (layer.weight, layer.bias) if name is not None}


def _leaf_modules(model: nn.Module, prefix: str = "") -> list[tuple[str, nn.Module]]:
    """Return the modules in the order of their calls, opening plain `nn.Sequential`s only."""
    if type(model) is not nn.Sequential:
        return [(prefix, model)]
    return [
        leaf
        for name, child in model._modules.items()  # `named_children` skips what comes twice
        if child is not None
        for leaf in _leaf_modules(child, f"{prefix}.{name}" if prefix else name)
    ]


class PerceptronProgram(Program):
    r"""l multi-layer perceptrons trained by batched products.

    With $h_0 = x$, $h_k = m_k \odot \max(0, h_{k-1} W_k^\top + b_k)$ and masks $m_k$ of dropout,
    backward: $\delta_K = \partial L / \partial h_K$, $\nabla W_k = \delta_k^\top h_{k-1}$,
    $\nabla b_k = \sum_b \delta_k$, $\delta_{k-1} = (\delta_k W_k) \odot m_{k-1} [h_{k-1} > 0]$.
    """

    def __init__(self, models: list[nn.Module], layers: list[_Layer], recipe: Recipe) -> None:
        self._layers = layers
        self._recipe = recipe
        self._generators: list[torch.Generator] = []
        self._memory: dict[_Key, list[Tensor]] = {}
        self.buffers = {}
        values = [dict(m.named_parameters()) for m in models]
        self.load({name: torch.stack([v[name].detach() for v in values]) for name in values[0]})

    def load(self, values: dict[str, Tensor]) -> None:
        """Take new values, name to [l, ...], for all parameters."""
        names = [n for k in self._layers for n in (k.weight, k.bias) if n is not None]
        self.parameters = {name: values[name].detach().clone() for name in names}
        self._grads = {name: torch.empty_like(p) for name, p in self.parameters.items()}
        self._memory.clear()

    def start_epoch(self, generators: list[torch.Generator]) -> None:
        """Take the generators of the epoch's dropout masks."""
        self._generators = generators

    def outputs(self, x: Tensor) -> Tensor:
        """Return the outputs [l, b, c] in evaluation mode."""
        return self._forward(x.flatten(2), masks={})[-1].clone()

    def gradients(
        self, x: Tensor, y: Tensor, part: Part | None = None
    ) -> tuple[Tensor, list[Tensor | None]]:
        """Return the mean losses [l] of a batch and their gradients."""
        masks = self._masks(x, part)
        activations = self._forward(x.flatten(2), masks)
        losses, delta = self._loss(activations[-1], y, part)
        if self._recipe.regularizers:
            delta += self._pull(activations[-1])
        space = self._space(x)[len(self._layers) :]
        for k in range(len(self._layers) - 1, -1, -1):
            layer, below = self._layers[k], activations[k]
            self._sum_up(layer, below, delta, part)
            if k == 0:
                break
            weight = self.parameters[layer.weight]
            delta = stacked_linear(delta, weight.mT, out=space[k - 1])
            if k - 1 in masks:
                delta.mul_(masks[k - 1])
            if self._layers[k - 1].relu:
                torch.ops.aten.threshold_backward.grad_input(delta, below, 0, grad_input=delta)
        return losses, list(self._grads.values())

    def _sum_up(self, layer: _Layer, below: Tensor, delta: Tensor, part: Part | None) -> None:
        """Write the gradients of one layer, of its inputs and deltas [l, b, width]."""
        mean, b = self._recipe.robust_mean, delta.shape[1]
        weight, bias = self._grads[layer.weight], self._grads.get(layer.bias or "")
        if mean is None:
            stacked_linear(delta.mT, below.mT, out=weight)
            if bias is not None:
                torch.sum(delta, 1, out=bias)
            return
        if part:
            whole, ranks = part.whole, self.ranks
            weight[0] = ranked_products(mean, delta[0], below[0], ranks, whole).mul_(whole)
            if bias is not None:
                bias[0] = ranked_rows(mean, delta[0], ranks, whole).mul_(whole)
            return
        for lane in range(len(delta)):
            weight[lane] = mean.of_outer_products(delta[lane], below[lane]).mul_(b)
        if bias is not None:
            bias.copy_(mean.of_rows(delta.transpose(0, 1)).mul_(b))

    def _forward(self, x: Tensor, masks: dict[int, Tensor]) -> list[Tensor]:
        """Return the inputs of every layer and the outputs of the last, all [l, b, width]."""
        activations = [x]
        space = self._space(x)
        for k, layer in enumerate(self._layers):
            weight, bias = self.parameters[layer.weight], self.parameters.get(layer.bias or "")
            h = stacked_linear(activations[-1], weight, bias, out=space[k])
            if layer.relu:
                h.relu_()
            activations.append(h.mul_(masks[k]) if k in masks else h)
        return activations

    def _space(self, x: Tensor) -> list[Tensor]:
        """Return memory for the outputs of every layer and the deltas of all but the last."""
        key = (x.shape[0], x.shape[1])
        if key not in self._memory:
            widths = [self.parameters[layer.weight].shape[1] for layer in self._layers]
            self._memory[key] = [x.new_empty((*key, w)) for w in [*widths, *widths[:-1]]]
        return self._memory[key]

    def _masks(self, x: Tensor, part: Part | None) -> dict[int, Tensor]:
        drops = {k: layer.dropout for k, layer in enumerate(self._layers) if layer.dropout}
        drawn: dict[int, list[Tensor]] = {k: [] for k in drops}
        for generator in self._generators if drops else []:
            for k, drop in drops.items():
                drop.part = part
                width = self.parameters[self._layers[k].weight].shape[1]
                drawn[k].append(drop.draw(torch.Size((x.shape[1], width)), generator))
        return {k: torch.stack(masks).to(x) for k, masks in drawn.items()}

    def _pull(self, outputs: Tensor) -> Tensor:
        """Return the derivatives of the penalties by the outputs, [l, b, c]."""
        with torch.enable_grad():
            leaf = outputs.detach().requires_grad_()
            total = penalties(self._recipe.regularizers, leaf, {}).sum()
            return torch.autograd.grad(total, leaf)[0]

    def _loss(self, outputs: Tensor, y: Tensor, part: Part | None) -> tuple[Tensor, Tensor]:
        """Return the mean losses [l] and their derivatives by the outputs, [l, b, c]."""
        recipe, b, c = self._recipe, part.whole if part else outputs.shape[1], outputs.shape[2]
        losses = mean_over_batch(
            per_example_losses(
                outputs, y, loss=recipe.loss, label_smoothing=recipe.label_smoothing
            ),
            part,
        )
        if recipe.loss == "squared_error":
            return losses, (outputs - y.to(outputs.dtype)) / b
        delta = outputs.softmax(2)
        if recipe.label_smoothing:
            delta -= recipe.label_smoothing / c
        label = torch.full_like(delta[..., :1], recipe.label_smoothing - 1)
        return losses, delta.scatter_add_(2, y.unsqueeze(2), label).div_(b)
