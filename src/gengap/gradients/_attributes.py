"""What modules keep in attributes of their own, while they are called for ours."""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

_PYTORCHS = frozenset(vars(nn.Module()))
_CONTAINERS = (OrderedDict, dict, list, set, deque)
_FROZEN, _ARRAY = 2**22, 2**20
"""Entries of all frozen parameters, and of an array, that are copied for a trial: there is one for
every new shape of a batch, and a network under fine-tuning may have many."""
_SHOWN = 4096
"""Entries of each further frozen parameter that are looked at."""


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
        self._watched: list[tuple[Tensor, Tensor]] = []
        self._room = _FROZEN
        self._seen: set[int] = set()

    def restore(self) -> list[Tensor]:
        """Give all back; return what could not be."""
        for step in self._undo:
            step()
        return [value for value, shown in self._watched if not _is_same(_shown(value), shown)]

    def module(self, module: nn.Module) -> None:
        """Remember what a module has."""
        self._seen.add(id(module))
        for name, value in vars(module).items():
            if name not in _PYTORCHS:
                self._value(value)
        if self._thorough:
            for tensors in (module._buffers, module._parameters):
                self._undo.append(_undo_container(tensors))  # one may be put in another's place
                for tensor in tensors.values():
                    self._value(tensor)

    def _value(self, value: Any) -> None:
        kinds = (Tensor, np.ndarray, tuple, list, dict, set, deque, nn.Module)
        if id(value) in self._seen:
            return
        if not isinstance(value, kinds):
            if self._thorough and _is_own(value):
                self._seen.add(id(value))
                self._undo.append(_undo_container(vars(value)))
            return
        self._seen.add(id(value))
        if isinstance(value, Tensor):
            self._tensor(value)
        elif isinstance(value, np.ndarray):
            small = value.size <= _ARRAY and not isinstance(value, np.memmap)
            if self._thorough and small and value.flags.writeable:
                self._undo.append(_undo_array(value))
        elif isinstance(value, nn.Module):
            if self._thorough:
                for part in value.modules():
                    self._undo.append(_undo_container(vars(part)))
                    self.module(part)
        else:
            if not isinstance(value, tuple):
                self._undo.append(_undo_container(value))
            for part in dict.values(value) if isinstance(value, dict) else tuple(value):
                self._value(part)

    def _tensor(self, value: Tensor) -> None:
        if not self._thorough or value.is_inference() or value.is_meta:
            return
        if isinstance(value, nn.Parameter) and value.requires_grad:
            return
        if isinstance(value, nn.Parameter):
            self._room -= value.numel()
        if isinstance(value, nn.Parameter) and self._room < 0:
            self._watched.append((value, _shown(value)))
        else:
            self._undo.append(_undo_tensor(value))


def _is_own(value: Any) -> bool:
    """Whether an object of the user's own, such as a counter, keeps attributes."""
    libraries = ("torch", "builtins", "numpy", "functools", "types", "gengap")
    top = type(value).__module__.partition(".")[0]
    return hasattr(value, "__dict__") and not isinstance(value, type) and top not in libraries


def _shown(value: Tensor) -> Tensor:
    """Return a copy of some entries of a large tensor."""
    flat = value.detach().flatten()
    return flat[:: 1 + len(flat) // _SHOWN].clone()


def _undo_tensor(value: Tensor) -> Callable[[], None]:
    content = value.detach().clone()

    def undo() -> None:
        if value.layout is not torch.strided or value.shape != content.shape:
            value.data = content
        elif not _is_same(value.detach(), content):
            value.data.copy_(content)  # whatever shares its memory has it again, too

    return undo


def _is_same(value: Tensor, content: Tensor) -> bool:
    """Whether two are equal, or NaN, everywhere: what nobody has written to may be read-only."""
    if torch.equal(value, content):
        return True
    if not value.is_complex():
        value, content = value.double(), content.double()
    return bool(((value == content) | ((value != value) & (content != content))).all())


def _undo_array(value: Any) -> Callable[[], None]:
    content = value.copy()

    def undo() -> None:
        if value.tobytes() != content.tobytes():
            value[...] = content

    return undo


def _undo_container(value: Any) -> Callable[[], None]:
    """Give a container its items again by its base's methods: its own may refuse, or do more."""
    base: Any = next(kind for kind in _CONTAINERS if isinstance(value, kind))
    items = base.items if issubclass(base, dict) else base.__iter__
    content = list(items(value))

    def undo() -> None:
        now = list(items(value))
        if len(now) == len(content) and all(map(_is_item, now, content)):
            return
        base.clear(value)
        (base.extend if issubclass(base, (list, deque)) else base.update)(value, content)

    return undo


def _is_item(now: Any, before: Any) -> bool:
    pairs = type(now) is tuple and type(before) is tuple and len(now) == len(before) == 2
    return now is before or (pairs and now[0] is before[0] and now[1] is before[1])
