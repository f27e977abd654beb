"""Copies of networks, also of those that keep what they computed."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._C import _functorch
from torch.overrides import TorchFunctionMode

Network = TypeVar("Network", bound=nn.Module)


def copy_of(model: Network) -> Network:
    """Return a deep copy of a module.

    PyTorch copies no tensor that was computed from parameters, such as an activation that
    `forward` kept on the module; here it comes out detached. Hooks that compute such a tensor
    before every pass, as that of the old `torch.nn.utils.weight_norm`, do so in the copy too.
    """
    with _Detaching():
        return copy.deepcopy(model)


def cast(model: Network, device: torch.device, dtype: torch.dtype) -> Network:
    """Return a network on a device, its floating tensors of a dtype, and complex ones of its twin.

    `nn.Module.to` makes complex tensors real: it takes their imaginary part away.
    """
    twin = torch.promote_types(dtype, torch.complex64)

    def convert(value: Tensor) -> Tensor:
        if value.is_complex():
            return value.to(device, twin)
        return value.to(device, dtype if value.is_floating_point() else None)

    return model._apply(convert)


class _Detaching(TorchFunctionMode):
    """While it is entered, `copy.deepcopy` detaches the tensors that it would refuse."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is not Tensor.__deepcopy__ or not _refused(args[0]):
            return func(*args, **(kwargs or {}))
        value, memo = args
        if id(value) not in memo:
            memo[id(value)] = _bare(value).detach().clone()
        return memo[id(value)]


def _refused(value: Tensor) -> bool:
    return not value.is_leaf or _functorch.is_functorch_wrapped_tensor(value)


def _bare(value: Tensor) -> Tensor:
    """Return what a transformation of `torch.func` that has ended left in a tensor."""
    while _functorch.is_functorch_wrapped_tensor(value):
        value = _functorch.get_unwrapped(value)
    return value
