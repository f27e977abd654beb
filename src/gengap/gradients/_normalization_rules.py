"""Normalization layers whose statistics are fixed or an example's own."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn import functional as F

from ._part import DensePart, Part
from ._rule import Kept, Layout, Rule

_aten = torch.ops.aten


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class BatchNormRule(Rule):
    """BatchNorm with running statistics.

    Attributes:
        mean: Running means [c].
        variance: Running variances [c].
        eps: Added to the variances.
    """

    mean: Tensor
    variance: Tensor
    eps: float

    def forward(self, x: Tensor, *params: Tensor | None) -> tuple[Tensor, Kept]:
        """Normalize [b, c, ...]."""
        weight, bias = params
        return F.batch_norm(x, self.mean, self.variance, weight, bias, eps=self.eps), ()

    def backward(
        self,
        delta: Tensor,
        x: Tensor,
        params: tuple[Tensor | None, ...],
        kept: Kept,
        *,
        layout: Layout,
        wanted: tuple[bool, ...],
    ) -> tuple[Tensor | None, tuple[Part | None, ...]]:
        """Take b examples of c channels for one of b c, whose scales then have gradients apart."""
        b, c = x.shape[:2]
        weight, _ = params
        delta = delta.to(x.dtype)
        back, scales, shifts = _aten.native_batch_norm_backward(
            delta.reshape(1, b * c, *x.shape[2:]).contiguous(),
            x.reshape(1, b * c, *x.shape[2:]).contiguous(),
            None if weight is None else _repeated(weight, b),
            _repeated(self.mean, b),
            _repeated(self.variance, b),
            None,
            None,
            False,
            self.eps,
            [wanted[0], True, True],
        )
        parts = tuple(
            _summed(rows.view(b, c), layout, 1) if asked else None
            for rows, asked in zip((scales, shifts), wanted[1:], strict=True)
        )
        return back.view(x.shape) if wanted[0] else None, parts


@final
@dataclass(frozen=True, kw_only=True)
class GroupNormRule(Rule):
    """GroupNorm; with as many groups as channels, InstanceNorm.

    Attributes:
        groups: Groups of channels.
        eps: Added to the variances.
    """

    groups: int
    eps: float

    def forward(self, x: Tensor, *params: Tensor | None) -> tuple[Tensor, Kept]:
        """Normalize [b, c, ...]."""
        weight, bias = params
        if torch.is_autocast_enabled(x.device.type):
            return F.group_norm(x, self.groups, weight, bias, self.eps), ()
        output, mean, scale = self._normalize(x, weight, bias)
        return output, (mean, scale)

    def _normalize(
        self, x: Tensor, weight: Tensor | None, bias: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        b, c, size = len(x), x.shape[1], x.shape[2:].numel()
        found: tuple[Tensor, Tensor, Tensor] = torch.native_group_norm(
            x.contiguous(), weight, bias, b, c, size, self.groups, self.eps
        )
        return found

    def backward(
        self,
        delta: Tensor,
        x: Tensor,
        params: tuple[Tensor | None, ...],
        kept: Kept,
        *,
        layout: Layout,
        wanted: tuple[bool, ...],
    ) -> tuple[Tensor | None, tuple[Part | None, ...]]:
        """Take b examples of c channels for one of b c, whose scales then have gradients apart."""
        b, c, size = len(x), x.shape[1], x.shape[2:].numel()
        weight, bias = params
        x = x.to(torch.promote_types(x.dtype, weight.dtype if weight is not None else x.dtype))
        mean, scale = kept or self._normalize(x, weight, bias)[1:]
        back, scales, shifts = _aten.native_group_norm_backward(
            delta.to(x.dtype).reshape(1, b * c, *x.shape[2:]).contiguous(),
            x.reshape(1, b * c, *x.shape[2:]).contiguous(),
            mean.view(1, -1),
            scale.view(1, -1),
            None if weight is None else _repeated(weight, b),
            1,
            b * c,
            size,
            b * self.groups,
            [wanted[0], wanted[1], wanted[2]],
        )
        parts = tuple(
            _summed(rows.view(b, c), layout, 1) if asked else None
            for rows, asked in zip((scales, shifts), wanted[1:], strict=True)
        )
        return back.view(x.shape) if wanted[0] else None, parts


@final
@dataclass(frozen=True, kw_only=True)
class LayerNormRule(Rule):
    """LayerNorm over the last axes.

    Attributes:
        shape: Sizes of these axes.
        eps: Added to the variances.
    """

    shape: tuple[int, ...]
    eps: float

    def forward(self, x: Tensor, *params: Tensor | None) -> tuple[Tensor, Kept]:
        """Normalize [..., *shape]."""
        weight, bias = params
        if torch.is_autocast_enabled(x.device.type):
            return F.layer_norm(x, self.shape, weight, bias, self.eps), ()
        output, mean, scale = torch.native_layer_norm(x, self.shape, weight, bias, self.eps)
        return output, (mean, scale)

    def backward(
        self,
        delta: Tensor,
        x: Tensor,
        params: tuple[Tensor | None, ...],
        kept: Kept,
        *,
        layout: Layout,
        wanted: tuple[bool, ...],
    ) -> tuple[Tensor | None, tuple[Part | None, ...]]:
        """Multiply by the normalized input, and sum over an example's positions."""
        weight, bias = params
        x = x.to(torch.promote_types(x.dtype, weight.dtype if weight is not None else x.dtype))
        delta = delta.to(x.dtype)
        if kept:
            mean, scale = kept
        else:
            mean, scale = torch.native_layer_norm(x, self.shape, weight, bias, self.eps)[1:]
        back = None
        if wanted[0]:
            mask = [True, False, False]
            back = _aten.native_layer_norm_backward(
                delta, x, self.shape, mean, scale, weight, bias, mask
            )[0]
        scaled = None
        if wanted[1]:
            scaled = _summed((x - mean).mul_(scale).mul_(delta), layout, len(self.shape))
        return back, (scaled, _summed(delta, layout, len(self.shape)) if wanted[2] else None)


@final
@dataclass(frozen=True, kw_only=True)
class RMSNormRule(Rule):
    """RMSNorm over the last axes.

    Attributes:
        shape: Sizes of these axes.
        eps: Added to the mean square; None is the dtype's own.
    """

    shape: tuple[int, ...]
    eps: float | None

    def forward(self, x: Tensor, *params: Tensor | None) -> tuple[Tensor, Kept]:
        """Normalize [..., *shape]."""
        (weight,) = params
        return F.rms_norm(x, list(self.shape), weight, self.eps), ()

    def backward(
        self,
        delta: Tensor,
        x: Tensor,
        params: tuple[Tensor | None, ...],
        kept: Kept,
        *,
        layout: Layout,
        wanted: tuple[bool, ...],
    ) -> tuple[Tensor | None, tuple[Part | None, ...]]:
        """Multiply by the normalized input, and sum over an example's positions."""
        (weight,) = params
        assert weight is not None
        eps = torch.finfo(x.dtype).eps if self.eps is None else self.eps
        x = x.to(torch.promote_types(x.dtype, weight.dtype))
        delta, axes = delta.to(x.dtype), tuple(range(-len(self.shape), 0))
        scale = (x.square().mean(axes, keepdim=True) + eps).rsqrt()
        normalized = x * scale
        back = None
        if wanted[0]:
            inner = delta * weight
            back = scale * (inner - normalized * (inner * normalized).mean(axes, keepdim=True))
        part = _summed(normalized.mul_(delta), layout, len(self.shape)) if wanted[1] else None
        return back, (part,)


def _summed(values: Tensor, layout: Layout, kept: int) -> DensePart:
    """Sum an example's values over all but the last `kept` axes."""
    rows = layout.rows(values)
    between = rows.ndim - 1 - kept
    return DensePart(rows.flatten(1, between).sum(1) if between > 0 else rows)


def _repeated(values: Tensor, times: int) -> Tensor:
    """Return a vector so many times in a row, in half the time of `repeat`."""
    return values.expand(times, -1).reshape(-1)
