"""Gradients by parameters, and a refusal where a reentrant checkpoint hides some of them."""

from collections.abc import Sequence

import torch
from torch import Tensor

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
        _check(loss)
        raise
    if any([gradient is None for gradient in found]):
        _check(loss)
    return found


def _check(loss: Tensor) -> None:
    seen, left = set(), [loss.grad_fn]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        if node.name() == _NODE:
            raise ValueError(
                "`model` must take its checkpoints with `use_reentrant=False`; got a reentrant "
                "one, which hides its parameters from whoever asks for their gradients."
            )
        seen.add(node)
        left += [parent for parent, _ in node.next_functions]
