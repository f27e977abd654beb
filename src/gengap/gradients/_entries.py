"""Which call of a module is the outermost one."""

import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, final
from weakref import WeakSet

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

OnEntry = Callable[[nn.Module, tuple[Any, ...], Mapping[str, Any]], None]


@final
class Entries:
    """Calls back when a module of a tree is called from outside the tree, while training.

    Whoever owns the tree may call its root, or, as Lightning modules do, a part of it.
    """

    def __init__(self, root: nn.Module, on_entry: OnEntry) -> None:
        """Listen to every module of the tree."""
        self._on_entry, self._depth, self._asleep, self._is_deaf = on_entry, 0, False, False
        self._outermost: tuple[nn.Module, FrameType] | None = None
        self._handles: list[RemovableHandle] = []
        self._heard: WeakSet[nn.Module] = WeakSet()
        try:
            self.listen(root)
        except BaseException:
            self.remove()
            raise

    def listen(self, root: nn.Module) -> None:
        """Listen to the modules of the tree that are new in it."""
        for module in root.modules():
            if module not in self._heard:
                self._heard.add(module)
                self._handles += [
                    module.register_forward_pre_hook(self._enter, with_kwargs=True, prepend=True),
                    module.register_forward_hook(self._leave, always_call=True),
                ]

    def remove(self) -> None:
        """Listen no more."""
        for handle in self._handles:
            handle.remove()
        self._outermost = None

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._asleep:
            return
        if getattr(vars(module).get("forward"), "stands_for", module) is not module:
            raise ValueError(
                f"A shallow copy of a metered {type(module).__name__} would compute with the "
                "original's parameters. Use `copy.deepcopy`, or close the meter first."
            )
        if self._depth and self._is_over(module):
            self._depth = 0
        self._depth += 1
        if self._depth == 1:
            self._outermost = module, sys._getframe(1)
        if self._depth == 1 and torch.is_grad_enabled():
            self._asleep = True  # what the callback calls is not a call from outside
            try:
                self._on_entry(module, args, kwargs)
            except BaseException:
                self._depth = 0
                raise
            finally:
                self._asleep = False

    def _leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if not self._asleep:
            self._depth = max(0, self._depth - 1)
            if not self._depth:
                self._outermost = None

    def _is_over(self, module: nn.Module) -> bool:
        """Whether the outermost call was broken off: PyTorch tells no hook of an interrupt."""
        if self._outermost is None or self._outermost[0] is not module:
            return False
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and frame is not self._outermost[1]:
            frame = frame.f_back
        return frame is None

    def __deepcopy__(self, memo: dict[int, Any]) -> "Entries":
        return _deaf()

    def __reduce__(self) -> tuple[Any, ...]:
        if self._is_deaf:
            return _deaf, ()
        raise TypeError(
            "A network cannot be pickled while a meter or a robust optimizer is on it. Save its "
            "`state_dict()`, or close the meter first."
        )


def _deaf() -> Entries:
    """Return what the copy of a network has in its place."""
    entries = object.__new__(Entries)
    entries._asleep = entries._is_deaf = True
    return entries
