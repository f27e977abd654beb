"""The elementwise median and mean of three tensors."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import increment_version

_BLOCK = 262_144  # elements: measured, with two threads
_NUMPY_BLOCK = 32_768  # fewer: a call of NumPy costs a third of one of PyTorch
_NUMPY_TYPES = (torch.float32, torch.float64)


def median_of_three(a: Tensor, b: Tensor, c: Tensor, *, out: Tensor | None = None) -> Tensor:
    r"""Return the elementwise median $\min(\max(c, \min(a, b)), \max(a, b))$.

    Exact: it is always one of the three, where the sum less the extremes would be rounded.
    On a CPU large tensors are taken in blocks that stay in the cache.
    With one thread, NumPy's minima and maxima are used, which are faster and give the same bits.

    Args:
        a: Any shape.
        b: The same shape.
        c: The same shape.
        out: Where to write; may be one of the three.

    Raises:
        ValueError: If the shapes differ.

    Source:
        The rule of Zielinski et al. (2020), arXiv:2003.07422, whose code takes the sum less
        the least and the largest.
    """
    out = _checked(a, b, c, out)
    for ops, size, *rows in _rows(*([t.detach()] for t in (a, b, c, out))):
        spaces = ops.empty_like(rows[0][:size]), ops.empty_like(rows[0][:size])
        for start in range(0, len(rows[0]), size):
            x, y, z, median = [t[start : start + size] for t in rows]
            bound, low = (space[: len(x)] for space in spaces)
            ops.maximum(x, y, out=bound)
            ops.minimum(z, bound, out=bound)
            ops.minimum(x, y, out=low)
            ops.maximum(low, bound, out=median)
    increment_version(out)
    return out


def mean_of_three(a: Tensor, b: Tensor, c: Tensor, *, out: Tensor | None = None) -> Tensor:
    r"""Return the elementwise mean $(a + b + c) / 3$; arguments as of `median_of_three`."""
    out = _checked(a, b, c, out)
    for ops, size, *rows in _rows(*([t.detach()] for t in (a, b, c, out))):
        space = ops.empty_like(rows[0][:size])
        for start in range(0, len(rows[0]), size):
            x, y, z, mean = [t[start : start + size] for t in rows]
            total = space[: len(x)]
            with np.errstate(all="ignore"):
                ops.add(x, y, out=total)
                ops.add(total, z, out=total)
            ops.divide(total, 3, out=mean)
    increment_version(out)
    return out


def _checked(a: Tensor, b: Tensor, c: Tensor, out: Tensor | None) -> Tensor:
    """Return where to write."""
    shapes = [tuple(t.shape) for t in (a, b, c) + (() if out is None else (out,))]
    if len(set(shapes)) > 1:
        said = ", ".join(map(str, shapes))
        raise ValueError(f"`a`, `b`, `c` and `out` must have one shape; got {said}.")
    return torch.empty_like(a) if out is None else out


def roll_medians(news: list[Tensor], lasts: list[Tensor], oldests: list[Tensor]) -> None:
    """Write medians of three into `news`, and what was there into `oldests`, in one go."""
    for ops, size, new, last, oldest in _rows(news, lasts, oldests):
        space = ops.empty_like(new[:size])
        for start in range(0, len(new), size):
            end = start + size
            x, y, z = new[start:end], last[start:end], oldest[start:end]
            bound = space[: len(x)]
            ops.maximum(x, y, out=bound)
            ops.minimum(z, bound, out=bound)
            z[...] = x
            ops.minimum(x, y, out=x)
            ops.maximum(x, bound, out=x)
    increment_version(news)
    increment_version(oldests)


def roll_means(news: list[Tensor], lasts: list[Tensor], oldests: list[Tensor]) -> None:
    """Write means of three into `news`, and what was there into `oldests`, in one go."""
    for ops, size, new, last, oldest in _rows(news, lasts, oldests):
        space = ops.empty_like(new[:size])
        for start in range(0, len(new), size):
            end = start + size
            x, y, z = new[start:end], last[start:end], oldest[start:end]
            total = space[: len(x)]
            with np.errstate(all="ignore"):
                ops.add(x, y, out=total)
                ops.add(total, z, out=total)
            z[...] = x
            ops.divide(total, 3, out=x)
    increment_version(news)
    increment_version(oldests)


def _rows(*lists: Sequence[Tensor]) -> Iterator[Any]:
    """Yield `numpy` or `torch`, the length of a block that stays in the cache, and its tensors.

    One tensor of each list at a time. Written for few calls: after a backward pass their code
    is no longer in the cache, and each costs several times what it does in a loop.
    """
    one_thread = torch.get_num_threads() == 1
    for tensors in zip(*lists, strict=True):
        first = tensors[0]
        if one_thread and first.is_cpu and first.dtype in _NUMPY_TYPES:
            try:
                arrays = [t.numpy() for t in tensors]
            except (RuntimeError, TypeError):  # a subclass, a negated view, another type among them
                yield torch, _BLOCK, *_vectors(tensors)
                continue
            if all([a.flags.c_contiguous for a in arrays]):
                yield np, _NUMPY_BLOCK, *[a.reshape(-1) for a in arrays]
            else:
                yield np, _NUMPY_BLOCK, *[t.numpy() for t in _vectors(tensors)]
        else:
            yield torch, _BLOCK if first.is_cpu else max(first.numel(), 1), *_vectors(tensors)


def _vectors(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return the tensors as vectors in the order of memory; as they are if they differ in it."""
    if all([t.is_contiguous() for t in tensors]):
        return [t.view(-1) for t in tensors]
    strides = tensors[0].stride()
    if any(t.stride() != strides for t in tensors):
        return tensors
    order = sorted(range(len(strides)), key=lambda k: -strides[k])
    rows = [t.permute(order) for t in tensors]
    return [t.view(-1) for t in rows] if rows[0].is_contiguous() else tensors
