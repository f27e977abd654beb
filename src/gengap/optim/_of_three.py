"""The elementwise median and mean of three tensors."""

from collections.abc import Callable

import torch
from torch import Tensor

_BLOCK = 131_072  # elements: measured; smaller blocks cost calls, larger ones the cache

Combination = Callable[..., None]


def median_of_three(a: Tensor, b: Tensor, c: Tensor, *, out: Tensor | None = None) -> Tensor:
    r"""Return the elementwise median $\min(\max(c, \min(a, b)), \max(a, b))$.

    Exact: it is always one of the three, where the sum less the extremes would be rounded.
    On a CPU large tensors are taken in blocks that stay in the cache.

    Args:
        a: Any shape.
        b: The same shape.
        c: The same shape.
        out: Where to write; may be one of the three.

    Source:
        The rule of Zielinski et al. (2020), arXiv:2003.07422, whose code takes the sum less
        the least and the largest.
    """
    return _apply(_median, a, b, c, out)


def mean_of_three(a: Tensor, b: Tensor, c: Tensor, *, out: Tensor | None = None) -> Tensor:
    r"""Return the elementwise mean $(a + b + c) / 3$; arguments as of `median_of_three`."""
    return _apply(_mean, a, b, c, out)


def _median(a: Tensor, b: Tensor, c: Tensor, out: Tensor, space: Tensor) -> None:
    torch.minimum(a, b, out=space[0])
    torch.maximum(a, b, out=space[1])
    torch.clamp(c, space[0], space[1], out=out)


def _mean(a: Tensor, b: Tensor, c: Tensor, out: Tensor, space: Tensor) -> None:
    torch.add(a, b, out=space[0])
    space[0].add_(c)
    torch.div(space[0], 3, out=out)


def _apply(combination: Combination, a: Tensor, b: Tensor, c: Tensor, out: Tensor | None) -> Tensor:
    out = torch.empty_like(a) if out is None else out
    flat = _flat(a, b, c, out) if a.device.type == "cpu" and a.numel() > _BLOCK else None
    if flat is None:
        combination(a, b, c, out, a.new_empty(2, *a.shape))
        return out
    space = a.new_empty(2, _BLOCK)
    for blocks in zip(*(t.split(_BLOCK) for t in flat), strict=True):
        combination(*blocks, space[:, : len(blocks[0])])
    return out


def _flat(*tensors: Tensor) -> list[Tensor] | None:
    """Return the tensors as vectors in the order of memory, or None where they differ in it."""
    first = tensors[0]
    if any(t.stride() != first.stride() for t in tensors):
        return None
    strides = first.stride()
    order = sorted(range(first.ndim), key=lambda k: -strides[k])
    rows = [t.permute(order) for t in tensors]
    return [t.view(-1) for t in rows] if rows[0].is_contiguous() else None
