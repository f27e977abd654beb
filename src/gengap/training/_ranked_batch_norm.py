"""BatchNorm whose batch is shared among ranks."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gengap.data import Ranks


class _Normalized(torch.autograd.Function):
    r"""$(x - \mu) / \sqrt{\sigma^2 + \epsilon}$ over the batches of all ranks, by channel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: "RankedBatchNorm") -> Tensor:
        ranks, wide = layer.ranks, x.float() if x.dtype in (torch.bfloat16, torch.half) else x
        others = [0, *range(2, x.ndim)]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        rows = wide.new_full((1,), x.numel() / x.shape[1])
        count, total = ranks.added([rows, wide.sum(others)])
        mean = total / count
        centred = wide - mean.view(shape)
        var = ranks.added([centred.square().sum(others)])[0] / count
        scale = (var + layer.eps).rsqrt().view(shape)
        layer.remember(mean, var, float(count))
        normal = centred * scale
        ctx.save_for_backward(normal, scale, count)
        ctx.ranks = ranks
        return normal

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        normal, scale, count = ctx.saved_tensors
        (gradient,) = gradients
        others = [0, *range(2, normal.ndim)]
        sums = [gradient.sum(others), (gradient * normal).sum(others)]
        mean, along = (
            (total / count).view_as(scale) for total in ctx.ranks.added([s.clone() for s in sums])
        )
        return scale * (gradient - mean - normal * along), None


class RankedBatchNorm(_BatchNorm):
    """A BatchNorm layer that normalizes by the batch of all ranks together.

    As `torch.nn.SyncBatchNorm`, which has no CPU form. In evaluation mode the layer it stands for.
    """

    ranks: Ranks

    @classmethod
    def of(cls, layer: _BatchNorm, ranks: Ranks) -> "RankedBatchNorm":
        """Return a stand-in with the parameters and buffers of `layer`."""
        found = cls(1)
        found.__dict__.update(layer.__dict__)
        found.ranks = ranks
        return found

    def _check_input_dim(self, input: Tensor) -> None:
        """Take any."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalized input [b, channels, ...]."""
        if not self.training:
            return super().forward(input)
        normal: Tensor = _Normalized.apply(input, self)
        shape = [1, -1, *[1] * (input.ndim - 2)]
        if self.weight is not None:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        return normal.to(input.dtype)

    @torch.no_grad()
    def remember(self, mean: Tensor, var: Tensor, count: float) -> None:
        """Move the running statistics towards those of a batch."""
        if self.running_mean is None or self.running_var is None:
            return
        factor = self.momentum or 0.0
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                factor = 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), factor)
        self.running_var.lerp_((var * count / (count - 1)).to(self.running_var.dtype), factor)


def share_batch_norm(model: nn.Module, ranks: Ranks) -> None:
    """Swap every BatchNorm layer of a model, in place, for one over all ranks."""
    swapped: dict[int, RankedBatchNorm] = {}
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if isinstance(child, _BatchNorm) and not isinstance(child, RankedBatchNorm):
                twin = swapped.setdefault(id(child), RankedBatchNorm.of(child, ranks))
                setattr(parent, name, twin)
