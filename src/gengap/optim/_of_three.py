"""The elementwise median and mean of three tensors."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

_BLOCK = 131_072  # elements: measured
_NUMPY_BLOCK = 32_768  # fewer: a call of NumPy costs a third of one of PyTorch

Combination = Callable[..., None]


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
    plain = a.device.type == "cpu" and a.dtype in (torch.float32, torch.float64)
    flat = _flat(a, b, c, out) if plain and torch.get_num_threads() == 1 else None
    if flat is None:
        return _apply(_median, a, b, c, out)
    _numpy_median(*(t.detach().numpy() for t in flat))
    return out


def mean_of_three(a: Tensor, b: Tensor, c: Tensor, *, out: Tensor | None = None) -> Tensor:
    r"""Return the elementwise mean $(a + b + c) / 3$; arguments as of `median_of_three`."""
    return _apply(_mean, a, b, c, out)


def _median(a: Tensor, b: Tensor, c: Tensor, out: Tensor, space: Tensor) -> None:
    torch.minimum(a, b, out=space[0])
    torch.maximum(a, b, out=space[1])
    torch.clamp(c, space[0], space[1], out=out)


def _numpy_median(a: np.ndarray, b: np.ndarray, c: np.ndarray, out: np.ndarray) -> None:
    """Write the median; `out` may be c, not a or b."""
    space = np.empty(min(_NUMPY_BLOCK, len(a)), a.dtype)
    for start in range(0, len(a), _NUMPY_BLOCK):
        x, y, z, result = (array[start : start + _NUMPY_BLOCK] for array in (a, b, c, out))
        bound = space[: len(x)]
        np.maximum(x, y, out=bound)
        np.minimum(z, bound, out=result)
        np.minimum(x, y, out=bound)
        np.maximum(result, bound, out=result)


def _mean(a: Tensor, b: Tensor, c: Tensor, out: Tensor, space: Tensor) -> None:
    torch.add(a, b, out=space[0])
    space[0].add_(c)
    torch.div(space[0], 3, out=out)


def _apply(combination: Combination, a: Tensor, b: Tensor, c: Tensor, out: Tensor | None) -> Tensor:
    out = torch.empty_like(a) if out is None else out
    cut = a.device.type == "cpu" and a.numel() > _BLOCK
    flat = _flat(a, b, c, out) if cut else None
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
    if all(t.is_contiguous() for t in tensors):
        return [t.view(-1) for t in tensors]
    if any(t.stride() != first.stride() for t in tensors):
        return None
    strides = first.stride()
    order = sorted(range(first.ndim), key=lambda k: -strides[k])
    rows = [t.permute(order) for t in tensors]
    return [t.view(-1) for t in rows] if rows[0].is_contiguous() else None
