"""BatchNorm statistics of a network at other parameters than those it was trained to."""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, final

import torch
from torch import Tensor, nn

from gengap._functional import functional_call

Statistics = Literal["exact", "average", "keep"]
Batches = Callable[[], Iterable[Tensor]]


class _Reached(Exception):
    """The layer that is measured was reached; what follows need not be computed."""


@final
class _Moments:
    """Mean and variance of the inputs of one layer, combined over chunks in float64."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, x: Tensor) -> None:
        """Add the inputs [b, c, ...] of one chunk."""
        over = [0, *range(2, x.ndim)]
        variance, mean = (v.double() for v in torch.var_mean(x, over, correction=0))
        count = x.numel() // x.shape[1]
        whole = self.count + count
        gap = mean - self.mean.to(mean)
        self.mean = self.mean.to(mean) + gap * (count / whole)
        between = gap.square() * (self.count * count / whole)
        self.squares = self.squares.to(mean) + variance * count + between
        self.count = whole

    @property
    def variance(self) -> Tensor:
        """Variance with divisor count, as a layer in training mode normalizes with."""
        return self.squares / max(self.count, 1)

    @property
    def unbiased(self) -> Tensor:
        """Variance with divisor count - 1, as a layer keeps for evaluation."""
        return self.squares / max(self.count - 1, 1)


def batch_norm_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the BatchNorm layers that keep running statistics, by name."""
    kind = nn.modules.batchnorm._BatchNorm
    found = {name: m for name, m in model.named_modules() if isinstance(m, kind)}
    return {name: m for name, m in found.items() if m.running_mean is not None}


def recomputed(
    model: nn.Module, params: Mapping[str, Tensor], batches: Batches, *, exact: bool
) -> dict[str, Tensor]:
    """Return the running statistics that belong to `params`, by the names of the buffers.

    Exact: what one training-mode pass over all examples as a single batch would leave with a
    momentum of 1. Over several chunks, layer by layer: one pass over the examples up to each
    BatchNorm layer. Otherwise one pass in which every chunk is normalized by its own statistics;
    the layers behind the first then see slightly other inputs.

    Args:
        model: A network in evaluation mode, whose own buffers are not changed.
        params: Its parameters.
        batches: Returns the inputs, a chunk at a time, each time it is called.
        exact: Which of the two.

    Raises:
        ValueError: A layer is called more than once in a pass, so that it has no one distribution.
    """
    layers = batch_norm_layers(model)
    place = dict(params)
    for name, layer in layers.items():
        place |= {f"{name}.{k}": getattr(layer, k).clone() for k in _KEPT}
    with torch.no_grad():
        inputs = iter(batches())
        first, second = next(inputs), next(inputs, None)
        del inputs
        if not exact or second is None:
            moments = _pass(model, layers, place, [first] if second is None else batches())
        else:
            moments = _layer_by_layer(model, layers, place, first, batches)
    return {
        f"{name}.{key}": value.to(place[f"{name}.{key}"])
        for name, found in moments.items()
        for key, value in (("running_mean", found.mean), ("running_var", found.unbiased))
    }


_KEPT = ("running_mean", "running_var")


def _pass(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    place: dict[str, Tensor],
    xs: Iterable[Tensor],
) -> dict[str, _Moments]:
    """Normalize every chunk by its own statistics; collect those of all."""
    moments: dict[str, _Moments] = {}
    called: list[str] = []

    def before(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            called.append(name)
            own = _Moments()
            own.add(args[0])
            moments.setdefault(name, _Moments()).add(args[0])
            place[f"{name}.running_mean"].copy_(own.mean)
            place[f"{name}.running_var"].copy_(own.variance)

        return hook

    handles = [layer.register_forward_pre_hook(before(name)) for name, layer in layers.items()]
    try:
        for x in xs:
            called.clear()
            functional_call(model, place, (x,))
            _check_once(called)
    finally:
        for handle in handles:
            handle.remove()
    return moments


def _layer_by_layer(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    place: dict[str, Tensor],
    first: Tensor,
    batches: Batches,
) -> dict[str, _Moments]:
    """Fix the statistics of one layer after the other, in the order in which they are called."""
    order = list(_pass(model, layers, place, [first]))
    moments = {}
    for name in order:
        moments[name] = found = _Moments()

        def hook(module: nn.Module, args: tuple[Tensor, ...], found: _Moments = found) -> None:
            found.add(args[0])
            raise _Reached

        handle = layers[name].register_forward_pre_hook(hook)
        try:
            for x in batches():
                try:
                    functional_call(model, place, (x,))
                except _Reached:
                    continue
        finally:
            handle.remove()
        place[f"{name}.running_mean"].copy_(found.mean)
        place[f"{name}.running_var"].copy_(found.variance)
    return moments


def _check_once(called: list[str]) -> None:
    twice = [name for name in called if called.count(name) > 1]
    if twice:
        raise ValueError(
            f"`model` must call each BatchNorm layer once a pass; got {twice[0]!r} called "
            f"{called.count(twice[0])} times. Take batch_norm='keep'."
        )
