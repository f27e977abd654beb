"""The relative flatness of Petzka et al.: curvature of one layer, weighted by its weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from gengap._checks import check_count
from gengap._streams import streams
from gengap.risk import Risk

from ._flat_risk import FlatRisk

_EXACT = 64


@final
@dataclass(frozen=True, kw_only=True)
class RelativeFlatness:
    """What `relative_flatness` found.

    Attributes:
        value: The relative flatness, in the units of the loss; smaller is flatter.
        standard_error: Of the value over the draws; 0 where it is exact.
        layer: The layer it is of.
        passes: Cost in forward-and-backward passes.
    """

    value: float
    standard_error: float
    layer: str
    passes: float

    def __float__(self) -> float:
        return self.value


def relative_flatness(
    risk: Risk, *, layer: str | None = None, draws: int = 32, seed: int = 0
) -> RelativeFlatness:
    r"""Measure the curvature of a linear layer relative to its weights.

    $$\kappa = \sum_{s, s'} \langle w_s, w_{s'} \rangle \, \mathrm{tr}(H_{s, s'})
    = \frac1n \sum_i \|x_i\|^2 \, \mathrm{tr}(W^T A_i W)$$

    where $w_s$ are the rows of the layer's weight W, $H_{s, s'}$ the blocks of its Hessian, $x_i$
    the layer's inputs and $A_i$ the Hessian of example i's loss in the layer's outputs. From the
    second form it is exact where the layer has up to 64 outputs; else a Hutchinson estimate,
    unbiased, one draw an example, whose standard error falls as one over the root of `draws`.

    Units: those of the loss; at least 0 where $A_i$ is positive semi-definite, as for the last
    layer under cross-entropy. Does not change when whole layers are rescaled so that the function
    stays, nor when the layer's own units are; changes when the units of the layer *before* are
    rescaled by different factors. Cost: one forward-and-backward pass and one product each for an
    output, or a draw.

    Args:
        risk: The risk; computed in float64.
        layer: Name of a `torch.nn.Linear` that takes a row an example; None takes the last.
        draws: Draws of the estimate.
        seed: Of the draws.

    Source:
        Petzka et al. (2021), arXiv:2001.00939, definition 3, the trace form.
    """
    check_count("draws", draws, least=2)
    flat = FlatRisk.of(risk)
    name, module = _layer(flat.risk.model, layer)
    weight = module.weight.detach()
    exact = len(weight) <= _EXACT
    factor = _root(weight) if exact else None
    count = factor.shape[1] if factor is not None else draws
    sums = torch.zeros(count, dtype=torch.float64, device=weight.device)
    generator = streams(seed)("relative flatness")
    with _reached(module) as reached:
        for x, y in flat.risk.batches():
            with torch.enable_grad():
                loss = flat.risk.losses(flat.risk.model(x), y).sum()
            inputs, shift = _only(reached, name, len(y))
            slopes = torch.autograd.grad(loss, shift, create_graph=True)[0]
            squares = inputs.square().sum(1)
            for k in range(count):
                v = (
                    factor[:, k].expand_as(slopes)
                    if factor is not None
                    else _draw(weight, len(inputs), generator)
                )
                sums[k] += squares @ (v * _product(slopes, shift, v)).sum(1)
    values = sums / flat.risk.n
    return RelativeFlatness(
        value=float(values.sum() if exact else values.mean()),
        standard_error=0.0 if exact else float(values.std()) / draws**0.5,
        layer=name,
        passes=flat.passes + 1 + count,
    )


def _layer(model: nn.Module, name: str | None) -> tuple[str, nn.Linear]:
    layers = {key: module for key, module in model.named_modules() if isinstance(module, nn.Linear)}
    if not layers:
        raise ValueError("`model` must have a torch.nn.Linear layer; got none.")
    chosen = list(layers)[-1] if name is None else name
    if chosen not in layers:
        raise ValueError(f"`layer` must be one of {', '.join(layers)}; got {name!r}.")
    return chosen, layers[chosen]


def _root(weight: Tensor) -> Tensor:
    """Return a square root of W W^T, [m, m]."""
    values, vectors = torch.linalg.eigh(weight @ weight.T)
    return vectors * values.clamp(min=0).sqrt()


def _draw(weight: Tensor, rows: int, generator: torch.Generator) -> Tensor:
    """Return W r for a random r of signs a row, [rows, m]."""
    signs = torch.randint(2, (rows, weight.shape[1]), generator=generator) * 2 - 1
    return signs.to(weight) @ weight.T


def _product(slopes: Tensor, shift: Tensor, v: Tensor) -> Tensor:
    """Return the Hessians in the layer's outputs times v, row by row."""
    if not slopes.requires_grad:
        return torch.zeros_like(v)
    return torch.autograd.grad(
        slopes, shift, grad_outputs=v, retain_graph=True, materialize_grads=True
    )[0]


@contextmanager
def _reached(module: nn.Linear) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Collect a layer's inputs, and a zero added to its outputs, at every call."""
    calls: list[tuple[Tensor, Tensor]] = []

    def hook(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        shift = torch.zeros_like(output, requires_grad=True)
        calls.append((inputs[0].detach(), shift))
        return output + shift

    handle = module.register_forward_hook(hook)
    try:
        yield calls
    finally:
        handle.remove()


def _only(calls: list[tuple[Tensor, Tensor]], name: str, rows: int) -> tuple[Tensor, Tensor]:
    if len(calls) != 1 or calls[0][0].ndim != 2 or len(calls[0][0]) != rows:
        raise ValueError(
            f"`layer` must be called once, with a row an example; {name!r} was called "
            f"{len(calls)} times{f' with {tuple(calls[0][0].shape)}' if calls else ''}."
        )
    found = calls[0]
    calls.clear()
    return found
