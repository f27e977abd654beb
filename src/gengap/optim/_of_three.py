"""The elementwise median and mean of three tensors."""

from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

_BLOCK = 262_144  # elements: measured, with two threads
_NUMPY_BLOCK = 32_768  # fewer: a call of NumPy costs a third of one of PyTorch

# A kernel is given `torch` or `numpy`, and blocks of its tensors with space for one more block.
Blocks = Iterable[Any]
Kernel = Callable[[Any, Blocks], None]


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

    Source:
        The rule of Zielinski et al. (2020), arXiv:2003.07422, whose code takes the sum less
        the least and the largest.
    """
    out = torch.empty_like(a) if out is None else out
    if out is a or out is b:
        a, b, c = (c, b, a) if out is a else (a, c, b)
    _in_blocks(_median, a, b, c, out)
    return out


def mean_of_three(a: Tensor, b: Tensor, c: Tensor, *, out: Tensor | None = None) -> Tensor:
    r"""Return the elementwise mean $(a + b + c) / 3$; arguments as of `median_of_three`."""
    out = torch.empty_like(a) if out is None else out
    _in_blocks(_mean, a, b, c, out)
    return out


def roll_median(new: Tensor, last: Tensor, oldest: Tensor) -> None:
    """Write the median of three into `new`, and what was there into `oldest`, in one go."""
    _in_blocks(_roll_median, new, last, oldest)


def roll_mean(new: Tensor, last: Tensor, oldest: Tensor) -> None:
    """Write the mean of three into `new`, and what was there into `oldest`, in one go."""
    _in_blocks(_roll_mean, new, last, oldest)


def _median(ops: Any, blocks: Blocks) -> None:
    """Write medians; `out` may be c, not a or b."""
    for a, b, c, out, space in blocks:
        ops.maximum(a, b, out=space)
        ops.minimum(c, space, out=out)
        ops.minimum(a, b, out=space)
        ops.maximum(out, space, out=out)


def _mean(ops: Any, blocks: Blocks) -> None:
    for a, b, c, out, space in blocks:
        ops.add(a, b, out=space)
        ops.add(space, c, out=space)
        ops.divide(space, 3, out=out)


def _roll_median(ops: Any, blocks: Blocks) -> None:
    for new, last, oldest, space in blocks:
        ops.maximum(new, last, out=space)
        ops.minimum(oldest, space, out=space)
        oldest[...] = new
        ops.minimum(new, last, out=new)
        ops.maximum(new, space, out=new)


def _roll_mean(ops: Any, blocks: Blocks) -> None:
    for new, last, oldest, space in blocks:
        ops.add(new, last, out=space)
        ops.add(space, oldest, out=space)
        oldest[...] = new
        ops.divide(space, 3, out=new)


def _in_blocks(kernel: Kernel, *tensors: Tensor) -> None:
    """Call `kernel` on blocks that stay in the cache; on all at once where that is as well."""
    first = tensors[0]
    numpy = torch.get_num_threads() == 1 and first.dtype in (torch.float32, torch.float64)
    size = _NUMPY_BLOCK if numpy else _BLOCK
    cpu = first.device.type == "cpu"
    flat = _flat(*tensors) if cpu and first.numel() > size else None
    rows: Any = [t.detach() for t in tensors] if flat is None else flat
    ops: Any = torch
    if numpy and cpu:
        ops, rows = np, [t.numpy() for t in rows]
    if flat is None:
        kernel(ops, [(*rows, ops.empty_like(rows[0]))])
    else:
        kernel(ops, _blocks(rows, ops.empty_like(rows[0][:size])))


def _blocks(rows: list[Any], space: Any) -> Iterator[Any]:
    """Cut vectors into blocks; no function is called for one, whose frame may cost a page fault."""
    for start in range(0, len(rows[0]), len(space)):
        blocks = tuple(map(itemgetter(slice(start, start + len(space))), rows))
        yield *blocks, space[: len(blocks[0])]


def _flat(*tensors: Tensor) -> list[Tensor] | None:
    """Return the tensors as vectors in the order of memory, or None where they differ in it."""
    first = tensors[0]
    if all(t.is_contiguous() for t in tensors):
        return [t.detach().view(-1) for t in tensors]
    if any(t.stride() != first.stride() for t in tensors):
        return None
    strides = first.stride()
    order = sorted(range(first.ndim), key=lambda k: -strides[k])
    rows = [t.detach().permute(order) for t in tensors]
    return [t.view(-1) for t in rows] if rows[0].is_contiguous() else None
