"""What moving, padding and pooling do to scales."""

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from ._follow import Call, unknown
from ._ledger import ANY, ONE, Labels
from ._names import MOVES


def move(call: Call) -> Labels:
    """Move the labels as their elements; of elements that may be others next time they are one."""
    labels = [call.labels(tensor) for tensor in call.moved()]
    if not labels or (call.name == "repeat_interleave" and call.get(1, "repeats") is None):
        return unknown(call)
    if any(map(call.follower.is_passing, _positions(call))):
        labels = [_alike(call, one) for one in labels]
    return call.rerun(labels)


def _positions(call: Call) -> list[Tensor]:
    """Return the tensors that tell which elements to read."""
    if call.name.endswith("_as"):
        return []
    leaves = pytree.tree_leaves((call.args[1:], call.kwargs))
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def _alike(call: Call, labels: Tensor) -> Tensor:
    """Join the labels along the axes along which other elements may be read next time."""
    axes = _read_axes(call, labels.ndim)
    keep = tuple(axis for axis in range(labels.ndim) if axis not in axes)
    common = call.ledger.uniform(labels, keep)
    for axis in axes:
        common = common.unsqueeze(axis)
    return common.expand(labels.shape)


def _read_axes(call: Call, ndim: int) -> list[int]:
    """Return the axes along which other elements may be read next time, in order."""
    if call.name != "__getitem__":
        axis = call.get(1 if call.name in ("index_select", "select", "narrow") else 2, "dim")
        return list(range(ndim)) if axis is None else [axis % ndim]
    key = call.args[1] if isinstance(call.args[1], tuple) else (call.args[1],)
    rest, at = ndim - sum(map(_width, key)), 0
    axes: list[int] = []
    for part in key:
        width = rest if part is Ellipsis else _width(part)
        moving = isinstance(part, Tensor) and call.follower.is_passing(part)
        axes += range(at, at + width) if moving or isinstance(part, list) else ()
        at += width
    return axes


def _width(part: object) -> int:
    """Return the number of axes that one part of an index takes up."""
    if isinstance(part, Tensor) and part.dtype in (torch.bool, torch.uint8):
        return part.ndim
    return 0 if part is None or part is Ellipsis or isinstance(part, bool) else 1


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
    other = call.get(1, "dim", call.kwargs.get("axis", call.kwargs.get("other")))
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
