"""The tensors that a model returned, whatever it packed them in."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree


def tensors_of_outputs(outputs: Any) -> list[Tensor]:
    """Return all tensors in what a model returned.

    Raises:
        TypeError: There are none, or some are in an object that cannot be looked into.
    """
    leaves = list(_leaves(outputs))
    closed = next((leaf for leaf in leaves if _holds_tensors(leaf)), None)
    found = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.numel()]
    if closed is not None or not found:
        raise TypeError(
            "`model` must return tensors that are not empty, or tuples, lists, dictionaries or "
            f"dataclasses of some; got {type(outputs if closed is None else closed).__name__}."
        )
    return found


def _leaves(value: Any) -> Iterator[Any]:
    for leaf in pytree.tree_leaves(value):
        if dataclasses.is_dataclass(leaf) and not isinstance(leaf, type):
            for field in dataclasses.fields(leaf):
                yield from _leaves(getattr(leaf, field.name))
        else:
            yield leaf


def _holds_tensors(leaf: Any) -> bool:
    """Whether an object has tensors among its attributes."""
    inside = {} if isinstance(leaf, (Tensor, type)) else getattr(leaf, "__dict__", {})
    return any(isinstance(value, Tensor) for value in pytree.tree_leaves(dict(inside)))
