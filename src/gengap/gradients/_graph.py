"""Autograd's graph of a call: where it leads to, and gradients that have one themselves."""

from collections.abc import Callable, Iterable, Sequence, Set
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

_CAST = "ToCopyBackward0"


def is_transformed(tensors: Iterable[Tensor | None] = ()) -> bool:
    """Whether a transform of `torch.func` runs, or one of some tensors has a tangent."""
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return True
    if forward_ad._current_level < 0:
        return False
    return any(t is not None and forward_ad.unpack_dual(t).tangent is not None for t in tensors)


def next_node() -> int:
    """Return a number below those of all nodes that this thread makes from now on."""
    with torch.enable_grad():
        node = torch.zeros((), requires_grad=True).clone().grad_fn
    assert node is not None
    return node._sequence_nr()


def used_leaves(
    outputs: Iterable[Tensor], *, start: int, known: Iterable[Tensor], own: Set[int]
) -> set[int] | None:
    """Return the ids of the leaves that tensors depend on, of those known and of the call's own.

    None where they depend on what is neither known nor made since.

    Args:
        outputs: Of a call, with their graph.
        start: `next_node()` before the call.
        known: What the call was given.
        own: The ids of the parameters that it may use.
    """
    known = list(known)
    ends = {t.grad_fn for t in known if t.grad_fn is not None}
    leaves = own | {id(t) for t in known}
    left = [t.grad_fn for t in outputs if t.grad_fn is not None]
    found = {id(t) for t in outputs if t.requires_grad and t.grad_fn is None}
    if not found <= leaves:
        return None
    seen: set[Any] = set(ends)
    while left:
        node: Any = left.pop()
        if node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            if id(node.variable) not in leaves:
                return None
            found.add(id(node.variable))
            continue
        if node._sequence_nr() <= start and node.name() != _CAST:  # autocast casts weights once
            return None
        left += [parent for parent, _ in node.next_functions if parent is not None]
    return found


def gradients_with_graph(
    outputs: Callable[[list[Tensor | None]], list[Tensor]],
    tensors: Sequence[Tensor | None],
    deltas: Sequence[Tensor],
    wanted: Sequence[bool],
) -> list[Tensor | None]:
    """Return the gradients of those tensors that are wanted, to be differentiated again."""
    with_graph: list[Tensor | None]
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        with_graph = [t if t is None else t.view_as(t) for t in tensors]  # without anybody's hooks
        found = outputs(with_graph)
    cast = [d.to(o.dtype) for d, o in zip(deltas, found, strict=True)]
    chosen = [t for t, want in zip(with_graph, wanted, strict=True) if want and t is not None]
    grads = iter(torch.autograd.grad(found, chosen, cast, create_graph=again, allow_unused=True))
    return [
        next(grads) if want and t is not None else None
        for t, want in zip(with_graph, wanted, strict=True)
    ]
