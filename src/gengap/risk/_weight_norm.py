"""Weight normalization whose second derivative is right."""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.weight_norm import WeightNorm as _Hook

_Fused = parametrizations._WeightNorm


class WeightNorm(_Fused):
    r"""$w = g\, v / \|v\|$ in plain operations.

    The first derivative of PyTorch's fused one, `torch._weight_norm`, is right, its second is not
    (2.13; `torch.autograd.gradgradcheck` tells).
    """

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        """Return the weight, from its norms and its directions."""
        return weight_v * (weight_g / torch.norm_except_dim(weight_v, 2, self.dim))


class WeightNormHook(_Hook):
    """The same for the hook of the old `torch.nn.utils.weight_norm`."""

    def compute_weight(self, module: nn.Module) -> Tensor:
        """Return the weight, from its norms and its directions."""
        g, v = (getattr(module, f"{self.name}_{end}") for end in ("g", "v"))
        weight: Tensor = v * (g / torch.norm_except_dim(v, 2, self.dim))
        return weight


def with_right_weight_norm(model: nn.Module) -> None:
    """Replace PyTorch's weight normalization in a network that is ours, in place."""
    for module in model.modules():
        if type(module) is _Fused:
            module.__class__ = WeightNorm
        for hook in module._forward_pre_hooks.values():
            if type(hook) is _Hook:
                hook.__class__ = WeightNormHook
