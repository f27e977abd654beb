"""Networks whose computed weights are made parameters of their own."""

from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from gengap._copies import copy_of


def with_plain_weights(model: nn.Module) -> nn.Module:
    """Return a copy, in evaluation mode, that computes the same from plain weights.

    What a parametrization, the old `weight_norm` and `spectral_norm`, or pruning compute before
    every pass is a parameter of the copy; what they compute it from is gone.
    """
    own = copy_of(model)
    own.eval()
    for module in own.modules():
        if parametrize.is_parametrized(module):
            _drop_parametrizations(module)
        _drop_hooks(module)
    return own


def _drop_parametrizations(module: nn.Module) -> None:
    """Make the values of parametrizations parameters.

    The class of a parametrized layer, and the properties in it, is one with that of its copies:
    it is left, never changed.
    """
    held = module.get_submodule("parametrizations").named_children()
    values = {name: getattr(module, name) for name, _ in held}
    module.__class__ = type(module).__bases__[0]
    del module.parametrizations
    for name, value in values.items():
        _set(module, name, value)


def _drop_hooks(module: nn.Module) -> None:
    """Make what PyTorch's own hooks compute parameters."""
    for key, hook in list(module._forward_pre_hooks.items()):
        if not isinstance(hook, WeightNorm | SpectralNorm | BasePruningMethod):
            continue
        hook(module, ())
        name = hook._tensor_name if isinstance(hook, BasePruningMethod) else hook.name
        value = getattr(module, name)
        delattr(module, name)
        for source in [f"{name}_{end}" for end in ("g", "v", "orig", "mask", "u")]:
            if hasattr(module, source):
                delattr(module, source)
        del module._forward_pre_hooks[key]
        _set(module, name, value)


def _set(module: nn.Module, name: str, value: Tensor) -> None:
    module.register_parameter(name, nn.Parameter(value.detach().clone(), requires_grad=False))
