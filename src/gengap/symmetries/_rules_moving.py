"""What moving, padding and pooling do to scales."""

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from ._follow import Call, unknown
from ._ledger import ANY, ONE, Labels
from ._names import MOVES


def move(call: Call) -> Labels:
    """Move the labels as their elements."""
    return call.rerun([call.labels(tensor) for tensor in call.tensors()])


def pad(call: Call) -> Labels:
    """Pad the labels; zeros have every scale."""
    mode, value = call.get(2, "mode", "constant"), call.get(3, "value")
    labels = call.labels(call.args[0])
    if mode == "constant":
        nothing = value is None or value in (0, float("-inf"))
        return F.pad(labels, call.args[1], value=float(ANY if nothing else ONE))
    return F.pad(labels, call.args[1], mode=mode)


def _over(call: Call, axes: tuple[int, ...]) -> Labels:
    """Join the labels along some axes, and spread them over the output."""
    labels = call.labels(call.args[0])
    axes = tuple(axis % labels.ndim for axis in axes)
    keep = tuple(axis for axis in range(labels.ndim) if axis not in axes)
    if not keep:
        common = labels.amax()
        call.ledger.same(labels, common)
    else:
        common = call.ledger.uniform(labels, keep)
        for axis in sorted(axes):
            common = common.unsqueeze(axis)

    def spread(output: Tensor) -> Tensor:
        if not output.is_floating_point():
            return torch.full(output.shape, float(ONE), dtype=torch.float64)
        if output.ndim == labels.ndim:
            return common.expand(output.shape)
        return common.squeeze(axes).expand(output.shape) if keep else common.expand(output.shape)

    return pytree.tree_map(spread, call.output)


def pool(call: Call) -> Labels:
    """Join the labels of all positions of a channel."""
    dimensions = int(next(c for c in call.name if c in "123"))
    return _over(call, tuple(range(-dimensions, 0)))


def interpolate(call: Call) -> Labels:
    """Join the labels of all positions of a channel."""
    return _over(call, tuple(range(2, call.args[0].ndim)))


def reduce(call: Call) -> Labels:
    """Join the labels along the axes that are summed over."""
    ndim = call.args[0].ndim
    other = call.get(1, "dim", call.kwargs.get("axis"))
    if isinstance(other, Tensor):  # torch.max of two tensors
        return call.ledger.join(call.labels(call.args[0]), call.labels(other))
    if other is None:
        axes: tuple[int, ...] = tuple(range(ndim))
    else:
        axes = (other,) if isinstance(other, int) else tuple(other)
    if call.ledger.permuting and call.name not in ("mean", "sum", "amax", "amin", "max", "min"):
        return unknown(call)
    return _over(call, axes)


_POOLS = ("max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool")
RULES = {
    **dict.fromkeys(MOVES, move),
    **{f"{name}{d}d": pool for name in _POOLS for d in (1, 2, 3)},
    **{f"{name}{d}d_with_indices": pool for name in _POOLS[::3] for d in (1, 2, 3)},
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "median", "cumsum"), reduce),
    "pad": pad,
    "interpolate": interpolate,
}
