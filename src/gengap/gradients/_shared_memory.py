"""Tensors that lie in the memory of others."""

from collections import Counter
from collections.abc import Iterable

import torch
from torch import Tensor

from ._use import as_new


def version(tensor: Tensor) -> int:
    """Return how often somebody has written to a tensor."""
    return 0 if tensor.is_inference() else tensor._version


def sharing(outputs: list[Tensor], others: Iterable[Tensor]) -> list[int]:
    """Return which outputs lie in the memory of another one, or of other tensors."""
    taken = Counter(map(_memory, outputs)) + Counter({_memory(t) for t in others})
    return [i for i, output in enumerate(outputs) if taken[_memory(output)] > 1]


def own_tensors(outputs: list[Tensor], others: Iterable[Tensor]) -> list[Tensor]:
    """Return the same without a graph; copies of those that share memory with another."""
    taken = {_memory(t) for t in others}
    found = []
    for output in outputs:
        memory, bare = _memory(output), output.detach()
        found.append(bare.clone() if memory in taken else as_new(bare))
        taken.add(memory)
    return found


def _memory(tensor: Tensor) -> int:
    return id(tensor) if tensor.layout is not torch.strided else tensor.untyped_storage()._cdata
