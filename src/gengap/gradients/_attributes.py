"""What modules keep in attributes of their own, while they are called for ours."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

_PYTORCHS = frozenset(vars(nn.Module()))
_FROZEN = 2**20
"""Entries of a frozen parameter that is copied for a trial."""


@contextmanager
def attributes_kept(module: nn.Module, *, thorough: bool = False) -> Iterator[None]:
    """Leave what a module and its children keep in attributes as it is when the block ends.

    A module may store what it computes: an auxiliary loss, weights of attention, a log. Lists,
    dicts, sets and queues that it changes have their old content again.

    Args:
        module: The module.
        thorough: Whether tensors are kept, too, buffers and frozen parameters among them, and
            arrays. Transforms of `torch.func` let no module write to these.

    Raises:
        ValueError: A frozen parameter was written to that is too large to be copied.
    """
    held = [(vars(part), dict(vars(part))) for part in module.modules()]
    keeper = _Keeper(thorough)
    for part in module.modules():
        keeper.module(part)
    try:
        yield
    finally:
        for now, before in held:
            for name in [name for name in now if name not in before]:
                del now[name]
            now.update(before)
        written = keeper.restore()
    if written:
        raise ValueError(
            "`model` must not write to its frozen parameters when it is called; got one of shape "
            f"{tuple(written[0].shape)}."
        )


@final
class _Keeper:
    """Remembers contents, and gives them back."""

    def __init__(self, thorough: bool) -> None:
        self._thorough = thorough
        self._undo: list[Callable[[], None]] = []
        self._watched: list[tuple[Tensor, int]] = []
        self._seen: set[int] = set()

    def restore(self) -> list[Tensor]:
        """Give all back; return what could not be."""
        for step in self._undo:
            step()
        return [value for value, version in self._watched if value._version != version]

    def module(self, module: nn.Module) -> None:
        """Remember what a module has."""
        self._seen.add(id(module))
        for name, value in vars(module).items():
            if name not in _PYTORCHS:
                self._value(value)
        if self._thorough:
            for tensors in (module._buffers, module._parameters):
                for tensor in tensors.values():
                    self._value(tensor)

    def _value(self, value: Any) -> None:
        kinds = (Tensor, np.ndarray, tuple, list, dict, set, deque, nn.Module)
        if not isinstance(value, kinds) or id(value) in self._seen:
            return
        self._seen.add(id(value))
        if isinstance(value, Tensor):
            self._tensor(value)
        elif isinstance(value, np.ndarray):
            if self._thorough and value.flags.writeable:
                self._undo.append(_undo_array(value))
        elif isinstance(value, nn.Module):
            if self._thorough:
                self._undo.append(_undo_dict(vars(value)))
                self.module(value)
        else:
            if not isinstance(value, tuple):
                self._undo.append(_undo_container(value))
            for part in value.values() if isinstance(value, dict) else value:
                self._value(part)

    def _tensor(self, value: Tensor) -> None:
        if not self._thorough or value.is_inference() or value.is_meta:
            return
        if isinstance(value, nn.Parameter) and value.requires_grad:
            return
        if isinstance(value, nn.Parameter) and value.numel() > _FROZEN:
            self._watched.append((value, value._version))
        else:
            self._undo.append(_undo_tensor(value))


def _undo_tensor(value: Tensor) -> Callable[[], None]:
    content = value.detach().clone()

    def undo() -> None:
        if value.layout is not torch.strided or not torch.equal(value, content):
            _give(value, content)

    return undo


def _give(value: Tensor, content: Tensor) -> None:
    if value.layout is torch.strided and value.shape == content.shape:
        value.data.copy_(content)  # whatever shares its memory has it again, too
    else:
        value.data = content


def _undo_array(value: Any) -> Callable[[], None]:
    content = value.copy()

    def undo() -> None:
        value[...] = content

    return undo


def _undo_container(value: Any) -> Callable[[], None]:
    if isinstance(value, dict):
        return _undo_dict(value)
    content = list(value)

    def undo() -> None:
        value.clear()
        if isinstance(value, set):
            value.update(content)
        else:
            value.extend(content)

    return undo


def _undo_dict(value: dict[Any, Any]) -> Callable[[], None]:
    content = dict(value)

    def undo() -> None:
        value.clear()
        value.update(content)

    return undo
