"""Where the examples of a batch are in the input of every layer, found out by trying."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from ._rules import find_site, is_whole

Shapes = dict[str, tuple[int, ...]]


def find_axes(
    module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, examples: int
) -> dict[str, int | None]:
    """Return, for every layer with a rule, the axis of the examples in its input.

    Runs the module, without a graph and in evaluation mode, on the first example and on the first
    two; the axis that grows is the one. Two examples may have several rows each, one after the
    other. No generator and no running statistics are touched.

    Args:
        module: The module that is called.
        args: What it is called with; tensors of length `examples` are cut.
        kwargs: The same by name.
        examples: Number of examples b of the batch, at least 2.

    Returns:
        Layer name, relative to the module, to its axis; None for a layer whose input is the same
        whatever the number of examples, as that of a table of positions.
    """
    one = _shapes(module, *_first(args, kwargs, examples, 1))
    two = _shapes(module, *_first(args, kwargs, examples, 2))
    return {name: _growing(one[name], shape) for name, shape in two.items() if name in one}


def _growing(one: tuple[int, ...], two: tuple[int, ...]) -> int | None:
    if len(one) != len(two):
        return None
    axes = [i for i, (a, b) in enumerate(zip(one, two, strict=True)) if a and b == 2 * a]
    return axes[0] if axes else None


def _first(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], examples: int, rows: int
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    def cut(value: Any) -> Any:
        fits = isinstance(value, Tensor) and value.ndim > 0 and len(value) == examples
        return value[:rows] if fits else value

    return tuple(map(cut, args)), {name: cut(value) for name, value in kwargs.items()}


def _shapes(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Shapes:
    shapes: Shapes = {}

    def noting(name: str) -> Callable[..., None]:
        def note(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            first = next((v for v in (*args, *kwargs.values()) if isinstance(v, Tensor)), None)
            if first is not None:
                shapes.setdefault(name, tuple(first.shape))

        return note

    with ExitStack() as stack:
        for name, layer in module.named_modules():
            stack.callback(setattr, layer, "training", layer.training)
            layer.training = False
            if find_site(layer) is not None or is_whole(layer):
                hook = layer.register_forward_pre_hook(noting(name), with_kwargs=True)
                stack.callback(hook.remove)
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.random.fork_rng(devices=[]))
        module(*args, **kwargs)
    return shapes
