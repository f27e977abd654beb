"""Whether the gradients of parameters are robust sums, and nothing else."""

import weakref
from collections.abc import Callable, Mapping
from typing import Any, final

from torch import Tensor

Stamp = tuple[int, int] | None


def stamp(gradient: Tensor) -> Stamp:
    """Return what tells a tensor from all others there are: what autograd adds up has another."""
    return None if gradient.is_sparse else (gradient.data_ptr(), gradient._version)


@final
class RobustGradients:
    """Follows what autograd adds to `.grad`, in every backward pass, robust or not.

    Attributes:
        given: Parameter name to the stamp of the robust sum that autograd got last.
    """

    def __init__(self) -> None:
        self.given: dict[str, Stamp] = {}
        self._names: dict[int, str] = {}
        self._arrived: dict[str, bool] = {}
        self._held: dict[str, tuple[weakref.ref[Tensor], bool]] = {}
        self._handles: list[Any] = []
        weakref.finalize(self, _remove, self._handles)

    def follow(self, names: Mapping[Tensor, str]) -> None:
        """Look at what parameters get from now on; those followed already, or frozen, are not."""
        for p, name in names.items():
            if p.requires_grad and id(p) not in self._names:
                self._names[id(p)] = name
                if p.grad is not None and bool(p.grad.any()):
                    self._held[name] = (weakref.ref(p.grad), False)
                self._handles += [
                    p.register_hook(_told(self.arrive, name)),
                    p.register_post_accumulate_grad_hook(_told(self.add, name)),
                ]

    def forget(self) -> None:
        """Hear that all gradients are zero or gone."""
        self._held.clear()

    def is_robust(self, name: str, gradient: Tensor) -> bool:
        """Whether the `.grad` of a parameter holds robust sums only, or zeros."""
        held = self._held.get(name)
        if held is not None and held[0]() is gradient:
            return held[1]
        return self.is_given(name, gradient) or not bool(gradient.any())

    def is_given(self, name: str, gradient: Tensor) -> bool:
        """Whether this is the robust sum that autograd got last for a parameter, untouched."""
        given = self.given.get(name)
        return given is not None and given == stamp(gradient)

    def arrive(self, name: str, gradient: Tensor) -> None:
        """See all that one backward pass has for a parameter."""
        self._arrived[name] = self.is_given(name, gradient)
        self.given.pop(name, None)
        held, robust = self._held.get(name, (None, True))
        before = held() if held is not None else None
        if not robust and before is not None and not bool(before.any()):
            del self._held[name]  # a plain gradient that somebody has set to zero since

    def add(self, name: str, p: Tensor) -> None:
        """See that it was added to `.grad`."""
        robust, held = self._arrived.pop(name, False), self._held.get(name)
        if p.grad is not None:
            before = held is None or held[0]() is not p.grad or held[1]
            self._held[name] = (weakref.ref(p.grad), robust and before)


def _told(method: Callable[[str, Tensor], None], name: str) -> Callable[[Tensor | None], None]:
    """Return a hook that calls a method as long as its object is there."""
    held = weakref.WeakMethod(method)

    def hook(tensor: Tensor | None) -> None:
        alive = held()
        if alive is not None and tensor is not None:
            alive(name, tensor)

    return hook


def _remove(handles: list[Any]) -> None:
    for handle in handles:
        handle.remove()
