"""Whether tensors are alike, to rounding."""

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

_CHANGED = 1e-4


def dense(outputs: Any) -> list[Tensor]:
    """Return the outputs that numbers flow through, in float32 at least."""
    tensors = [t for t in pytree.tree_leaves(outputs) if isinstance(t, Tensor)]
    found = [t for t in tensors if t.layout is torch.strided and not (t.is_meta or t.is_nested)]
    return [t.to(torch.promote_types(t.dtype, torch.float32)) for t in found if _is_real(t)]


def _is_real(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.element_size() > 1


def is_same(before: Any, after: Any) -> bool:
    """Whether two outputs are the same; what is no tensor is taken for it."""
    if not isinstance(before, Tensor):
        return True
    return (
        isinstance(after, Tensor)
        and before.shape == after.shape
        and not bool(differ(before[None], after[None]).any())
    )


def differ(left: Tensor, right: Tensor) -> Tensor:
    """Return which rows of two tensors differ; of tensors of two shapes, all do."""
    if left.shape != right.shape:
        return torch.ones(len(left), dtype=torch.bool)
    left, right = (t.unsqueeze(-1).flatten(1) for t in (left, right))
    if not left.is_floating_point():
        return (left != right).any(1).cpu()
    least = _CHANGED * torch.linalg.vector_norm(left, float("inf")) if left.numel() else 0
    return ((left - right).abs() > least).any(1).cpu()
