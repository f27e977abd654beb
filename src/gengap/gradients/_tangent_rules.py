r"""Layers of dual tensors, faster than by PyTorch's own formulas.

A dual tensor holds a value $x$ and its derivative $\dot x$ along one direction. Each rule takes the
arguments of the function in whose place it stands, and returns None where too few of these are
dual: then the function itself has to do. Values lie in memory as the function would lay them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import make_dual, unpack_dual
from torch.nn import functional as F

Dual = Tensor
Rule = Callable[..., Dual | None]


def _convolution(
    plain: Callable[..., Tensor],
    input: Dual,
    weight: Dual,
    bias: Dual | None = None,
    *settings: Any,
    **options: Any,
) -> Dual | None:
    r"""Return $y = x * W + b$, with $\dot y = \dot x * W + x * \dot W + \dot b$."""
    (x, dx), (weight, dweight), (bias, dbias) = map(_both, (input, weight, bias))
    if dweight is None:
        return None
    output = plain(x, weight, bias, *settings, **options)
    tangent = plain(x, dweight, dbias, *settings, **options)
    if dx is not None:
        tangent.add_(plain(dx, weight, None, *settings, **options))
    return make_dual(output, tangent)


def _group_norm(
    input: Dual,
    num_groups: int,
    weight: Dual | None = None,
    bias: Dual | None = None,
    eps: float = 1e-5,
) -> Dual | None:
    r"""Return GroupNorm.

    $$c = x - \overline{x}, \quad r = (\overline{c^2} + \epsilon)^{-1/2}, \quad
    y = \gamma r c + \beta$$

    $$\dot y = \gamma r \, (\dot x - \overline{\dot x})
    + (\dot \gamma - \gamma r^2 \, \overline{c \dot x}) \, r c + \dot \beta$$

    with means over a group of channels of an example. PyTorch's own takes the mean of squares less
    the square of the mean where channels are last: where the mean is ten deviations, off by 2e-4.
    """
    parts = _of_a_norm(input, weight, bias)
    if parts is None or not _is_dense(input):
        return None
    x, dx, weight, dweight, bias, dbias = parts
    b, c, maps = *x.shape[:2], (1,) * (x.ndim - 2)
    weight, dweight, bias, dbias = (t.view(c, *maps) for t in (weight, dweight, bias, dbias))

    def mean_of(values: Tensor) -> Tensor:
        sums = values.reshape(b, c, -1).sum(2).view(b, num_groups, -1)
        means = sums.sum(2, keepdim=True) * (b * num_groups / values.numel())
        return means.expand_as(sums).reshape(b, c, *maps)

    centred = x - mean_of(x)
    scale = (mean_of(centred * centred) + eps).rsqrt()
    of_dx = weight * scale
    of_centred = (dweight - of_dx * scale * mean_of(centred * dx)) * scale
    tangent = torch.addcmul(dbias - of_dx * mean_of(dx), centred, of_centred).addcmul_(dx, of_dx)
    return make_dual(torch.addcmul(bias, centred, of_dx), tangent)


def _batch_norm(
    input: Dual,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Dual | None = None,
    bias: Dual | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Dual | None:
    r"""Return BatchNorm with running statistics.

    $$\dot y = \gamma r \dot x + \dot \gamma \hat x + \dot \beta$$
    """
    parts = _of_a_norm(input, weight, bias)
    if training or running_mean is None or running_var is None or parts is None:
        return None
    x, dx, weight, dweight, bias, dbias = parts
    output = F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    maps = (-1, *(1,) * (x.ndim - 2))
    scale = (running_var + eps).rsqrt()
    of_x, of_dx = dweight * scale, (weight * scale).view(maps)
    shift = (dbias - of_x * running_mean).view(maps)
    return make_dual(output, torch.addcmul(shift, x, of_x.view(maps)).addcmul_(dx, of_dx))


def _both(values: Dual | None) -> tuple[Any, Any]:
    """Return a value and its tangent, each None where there is none."""
    return (None, None) if values is None else unpack_dual(values)


def _is_dense(x: Tensor) -> bool:
    """Whether images lie in one of the two orders that PyTorch's function keeps."""
    return x.is_contiguous() or (x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last))


def _of_a_norm(x: Dual, weight: Dual | None, bias: Dual | None) -> list[Tensor] | None:
    """Return input, scales and shifts, each and its tangent; None where all are constant."""
    weight = x.new_ones(x.shape[1]) if weight is None else weight
    bias = x.new_zeros(x.shape[1]) if bias is None else bias
    parts = [unpack_dual(values) for values in (x, weight, bias)]
    if all(t is None for _, t in parts) or len({values.dtype for values, _ in parts}) > 1:
        return None
    return [
        v for values, t in parts for v in (values, torch.zeros_like(values) if t is None else t)
    ]


RULES: dict[Callable[..., Any], Rule] = {
    **{f: partial(_convolution, f) for f in (torch.conv1d, torch.conv2d, torch.conv3d)},
    F.group_norm: _group_norm,
    F.batch_norm: _batch_norm,
}
"""What takes the place of a function whose arguments are dual."""
