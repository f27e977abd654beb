"""Calls of a network with other tensors in the place of its parameters and buffers."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, func, nn


def functional_call(
    model: nn.Module,
    values: Mapping[str, Tensor],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
) -> Any:
    """Return what a network gives with `values` in the place of its own tensors of these names.

    `torch.func.functional_call`, but for a module that is registered under two names: PyTorch
    (2.13) swaps its tensors twice and leaves the given ones in it. Every place is named once here,
    and tied tensors are replaced in all their places, too. Empty buffers may be given a tensor.
    """
    held = dict(_tensors(model))
    names = {id(held[name]): name for name in values if name in held}
    places = {name: value for name, value in values.items() if name not in held}
    places |= {
        f"{path}.{slot}" if path else slot: values[names[id(tensor)]]
        for path, module in model.named_modules()
        for slot, tensor in _held(module)
        if id(tensor) in names
    }
    return func.functional_call(model, places, args, dict(kwargs or {}), tie_weights=False)


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield all tensors under all their names."""
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _held(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors that a module itself holds."""
    for tensors in (module._parameters, module._buffers):
        for slot, tensor in tensors.items():
            if tensor is not None:
                yield slot, tensor
