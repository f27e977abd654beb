"""What modules keep in attributes of their own, while they are called for ours."""

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_PYTORCHS = frozenset(vars(nn.Module()))
_CONTAINERS = (list, dict, set, deque, defaultdict, OrderedDict, Counter)

Undo = Callable[[], None]


@contextmanager
def attributes_kept(module: nn.Module, *, buffers: bool = False) -> Iterator[None]:
    """Leave what a module and its children keep in attributes as it is when the block ends.

    A module may store what it computes: an auxiliary loss, weights of attention, a log. Tensors,
    lists, dicts, sets and queues that it changes have their old content again. Parameters are not
    looked at.

    Args:
        module: The module.
        buffers: Whether its buffers are kept, too.
    """
    held = [(vars(part), dict(vars(part))) for part in module.modules()]
    undo: list[Undo] = []
    seen: set[int] = set()
    for _, before in held:
        for name, value in before.items():
            if name not in _PYTORCHS:
                _remember(value, undo, seen)
    if buffers:
        for part in module.modules():
            _remember(part._buffers, undo, seen)
    try:
        yield
    finally:
        for now, before in held:
            for name in [name for name in now if name not in before]:
                del now[name]
            now.update(before)
        for step in undo:
            step()


def _remember(value: Any, undo: list[Undo], seen: set[int]) -> None:
    """Note how to give a value, and all in it, its present content again."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        if not isinstance(value, nn.Parameter) and not value.is_inference():
            undo.append(_undo_tensor(value))
    elif type(value) is tuple:
        for part in value:
            _remember(part, undo, seen)
    elif type(value) in _CONTAINERS:
        undo.append(_undo_container(value))
        for part in list(value.values() if isinstance(value, dict) else value):
            _remember(part, undo, seen)


def _undo_tensor(value: Tensor) -> Undo:
    version, content = value._version, value.detach().clone()

    def undo() -> None:
        if value._version != version:
            with torch.no_grad():
                value.detach().copy_(content)

    return undo


def _undo_container(value: Any) -> Undo:
    content = value.copy()

    def undo() -> None:
        value.clear()
        if isinstance(value, (list, deque)):
            value.extend(content)
        else:
            value.update(content)

    return undo
