"""Gradients by parameters, and a refusal where a reentrant checkpoint hides some of them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

_NODE = "CheckpointFunctionBackward"


def parameter_gradients(loss: Tensor, params: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """Return the gradients of a loss; None for a parameter that it does not depend on.

    Raises:
        ValueError: The loss depends on a reentrant checkpoint. It computes its gradients in a
            pass of its own, which adds to `.grad`: autograd sees no parameter in it.
    """
    try:
        found = torch.autograd.grad(loss, list(params), allow_unused=True)
    except RuntimeError:
        _check(loss, always=True)
        raise
    if any([gradient is None for gradient in found]):
        _check(loss, always=False)
    return found


def _may_hide(node: Any) -> bool:
    """Whether what a checkpoint runs may have parameters to train."""
    held = getattr(node, "run_function", None)
    module = getattr(held, "__self__", held)
    if not isinstance(module, nn.Module):
        return True
    return any(p.requires_grad for p in module.parameters())


def _check(loss: Tensor, *, always: bool) -> None:
    seen, left = set(), [loss.grad_fn]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        if node.name() == _NODE and (always or _may_hide(node)):
            raise ValueError(
                "`model` must take its checkpoints with `use_reentrant=False`; got a reentrant "
                "one, which hides its parameters from whoever asks for their gradients."
            )
        seen.add(node)
        left += [parent for parent, _ in node.next_functions]
