"""Weight normalization whose second derivative is right."""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.weight_norm import WeightNorm as _Hook
from torch.overrides import handle_torch_function, has_torch_function

_Fused = parametrizations._WeightNorm


def _weight_norm(v: Tensor, g: Tensor, dim: int) -> Tensor:
    r"""Return $w = g\, v / \|v\|$ in plain operations.

    The first derivative of PyTorch's fused function of this name is right, its second is not
    (2.13; `torch.autograd.gradgradcheck` tells). Who follows the functions of a network sees one.
    """
    if has_torch_function((v, g)):
        found: Tensor = handle_torch_function(_weight_norm, (v, g), v, g, dim)
        return found
    return v * (g / torch.norm_except_dim(v, 2, dim))


class WeightNorm(_Fused):
    """Weight normalization by parametrization."""

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        """Return the weight, from its norms and its directions."""
        return _weight_norm(weight_v, weight_g, self.dim)


class WeightNormHook(_Hook):
    """Weight normalization by the hook of the old `torch.nn.utils.weight_norm`."""

    def compute_weight(self, module: nn.Module) -> Tensor:
        """Return the weight, from its norms and its directions."""
        g, v = (getattr(module, f"{self.name}_{end}") for end in ("g", "v"))
        return _weight_norm(v, g, self.dim)


def with_right_weight_norm(model: nn.Module) -> None:
    """Replace PyTorch's weight normalization in a network that is ours, in place."""
    for module in model.modules():
        if type(module) is _Fused:
            module.__class__ = WeightNorm
        for hook in module._forward_pre_hooks.values():
            if type(hook) is _Hook:
                hook.__class__ = WeightNormHook
