"""A network whose units switch as a frozen copy's do."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gengap._copies import copy_of

_LINEAR = (nn.Linear, nn.Conv2d, nn.Flatten, nn.Identity, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
_DROPOUT = (nn.Dropout, nn.Dropout2d)


class FrozenActivations(nn.Module):
    r"""A ReLU network linear in its path weights: its activation pattern is a frozen copy's.

    Every ReLU becomes a product with the 0 or 1 of the same unit in the copy, every maximum over
    a window the choice of the copy's winner:
    $h_l = \sigma_l(x) \odot (W_l h_{l-1} + b_l)$, with $\sigma_l(x)$ from the copy. It starts as
    the same function as the network; training then changes $W$ and $b$ and leaves $\sigma$.

    Attributes:
        gates: The frozen copy; its parameters take no gradients.
        values: What is trained.

    Source:
        The freezing phase of Kawaguchi, Kaelbling and Bengio (2017), arXiv:1710.05468.
    """

    def __init__(self, model: nn.Module) -> None:
        """Freeze the pattern of a network, which is copied and left alone.

        Args:
            model: Made of linear layers, convolutions, ReLU, maxima and means over windows,
                dropout, and modules that put these in a row or add them up.

        Raises:
            ValueError: A layer of another kind is in it.
        """
        super().__init__()
        for name, module in model.named_modules():
            known = (*_LINEAR, *_DROPOUT, nn.ReLU, nn.MaxPool2d)
            if not isinstance(module, known) and next(module.children(), None) is None:
                raise ValueError(
                    "`model` must be made of Linear, Conv2d, ReLU, pooling and dropout for its "
                    f"activation pattern to be frozen; got {type(module).__name__} as {name!r}."
                )
        pattern: list[Tensor] = []
        self._pattern = pattern
        self.gates = _replaced(model, pattern, taking=False).eval().requires_grad_(False)
        self.values = _replaced(model, pattern, taking=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs [b, c]."""
        self._pattern.clear()
        with torch.no_grad():
            self.gates(x)
        return self.values(x)

    def train(self, mode: bool = True) -> "FrozenActivations":
        """Set the mode; the frozen copy stays in evaluation mode."""
        super().train(mode)
        self.gates.eval()
        return self


class _Unit(nn.Module):
    """A nonlinearity that records its pattern, or takes the recorded one, in the order of calls."""

    def __init__(self, pattern: list[Tensor], *, taking: bool) -> None:
        super().__init__()
        self._pattern, self._taking = pattern, taking


class Gate(_Unit):
    """ReLU that records which units are on, or a product with what was recorded."""

    def forward(self, x: Tensor) -> Tensor:
        """Return what is let through, in the shape of x."""
        if self._taking:
            return x * self._pattern.pop(0)
        self._pattern.append((x > 0).to(x.dtype))
        return x.relu()


class _Winner(_Unit):
    """Maximum over windows that records its winners, or what stands at the recorded places."""

    def __init__(self, pool: nn.MaxPool2d, pattern: list[Tensor], *, taking: bool) -> None:
        super().__init__(pattern, taking=taking)
        self._pool = pool

    def forward(self, x: Tensor) -> Tensor:
        if self._taking:
            places = self._pattern.pop(0)
            return x.flatten(-2).gather(-1, places.flatten(-2)).view(places.shape)
        pool = self._pool
        best, places = F.max_pool2d(
            x,
            pool.kernel_size,
            pool.stride,
            pool.padding,
            pool.dilation,
            ceil_mode=pool.ceil_mode,
            return_indices=True,
        )
        self._pattern.append(places)
        return best


def _replaced(model: nn.Module, pattern: list[Tensor], *, taking: bool) -> nn.Module:
    """Return a copy whose nonlinearities record, or take, a pattern."""

    def own(module: nn.Module) -> nn.Module | None:
        if isinstance(module, nn.ReLU):
            return Gate(pattern, taking=taking)
        if isinstance(module, nn.MaxPool2d):
            return _Winner(module, pattern, taking=taking)
        return None

    twin = copy_of(model)
    if (whole := own(twin)) is not None:
        return whole
    for parent in list(twin.modules()):
        for name, child in list(parent.named_children()):
            if (unit := own(child)) is not None:
                setattr(parent, name, unit)
    return twin
