"""Modules whose call is not that of their class: hooks, and a `forward` of one module alone."""

import inspect
from typing import Any

from torch import nn
from torch.nn.modules import module as of_torch


def calls_its_class(module: nn.Module) -> bool:
    """Return whether calling `module` does what its class does, and nothing besides."""
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    return not any(hooks) and not _own_methods(module)


def hooks_everywhere() -> bool:
    """Return whether there are hooks on every module of the process."""
    return bool(
        of_torch._global_forward_hooks
        or of_torch._global_forward_pre_hooks
        or of_torch._global_backward_hooks
        or of_torch._global_backward_pre_hooks
    )


def check_copy(copy: nn.Module, model: nn.Module) -> None:
    """Require that a copy of `model` computes with weights of its own.

    Raises:
        ValueError: A module has a method of its own that closes over a module of `model`, which
            the copy goes on to call.
    """
    originals = set(model.modules())
    for name, module in copy.named_modules():
        methods = _own_methods(module)
        if any(not originals.isdisjoint(_closed_over(method)) for method in methods):
            raise ValueError(
                "`model` must be a network that can be copied; got one whose "
                f"{type(module).__name__} {name!r} has a function that holds on to a module. "
                "Make it a subclass, or bind it: types.MethodType(forward, module)."
            )


def _own_methods(module: nn.Module) -> list[Any]:
    """Return what stands on the module itself in the place of methods of its class."""
    kind = type(module)
    return [v for name, v in vars(module).items() if callable(v) and hasattr(kind, name)]


def _closed_over(method: Any) -> list[nn.Module]:
    """Return the modules that a function holds on to, itself or by a method of theirs."""
    if not inspect.isfunction(method):
        return []
    held = inspect.getclosurevars(method).nonlocals.values()
    owners = [getattr(value, "__self__", value) for value in held]
    return [owner for owner in owners if isinstance(owner, nn.Module)]
