"""A network as a chain of linear maps with rectifiers and pooling between: what bounds speak of."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ._operator import Operator, operator

_SHAPES = (nn.Flatten, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_AVERAGES = (nn.AvgPool2d, nn.AdaptiveAvgPool2d)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Link:
    """One linear map of a chain and what stands between it and the next.

    Attributes:
        operator: The map, BatchNorm that follows it folded in.
        rectified: Whether a ReLU follows.
        lipschitz: Factor by which pooling behind it can stretch distances; 1 without overlap.
        comparisons: Pairs of values that max pooling behind it compares, for one example.
        pooled: Whether max pooling follows.
        averaged: Whether average pooling follows.
    """

    operator: Operator
    rectified: bool = False
    lipschitz: float = 1.0
    comparisons: int = 0
    pooled: bool = False
    averaged: bool = False


def chain(model: nn.Module, x: Tensor) -> list[Link]:
    """Read a network as a chain of Linear and Conv2d maps.

    Between two maps: ReLU, pooling, dropout (off), flattening; BatchNorm, with its running
    statistics, straight behind a map.

    Args:
        model: A network, in any mode; it is read, not run.
        x: One example as a batch, [1, ...].

    Raises:
        ValueError: The network holds something else, such as shortcuts.
    """
    links: list[Link] = []
    shape = tuple(x.shape[1:])
    for name, module in _leaves(model):
        if isinstance(module, nn.Linear | nn.Conv2d):
            made = operator(module, shape)
            links.append(Link(operator=made))
            shape = made.output_shape
            continue
        before, shape = shape, _shape_behind(module, shape)
        if isinstance(module, _SHAPES):
            continue
        if not links:
            raise ValueError(
                "`model` must begin with a Linear or Conv2d layer for bounds from its weights; "
                f"got {type(module).__name__}."
            )
        links[-1] = _followed(links[-1], name, module, before, shape)
    if not links:
        raise ValueError("`model` must have a Linear or Conv2d layer; got none.")
    if any(not link.rectified for link in links[:-1]) or links[-1].rectified:
        raise ValueError(
            "`model` must have a ReLU behind every Linear or Conv2d layer but the last for bounds "
            "from its weights."
        )
    return links


def _leaves(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules in the order of their calls."""
    if type(model) is nn.Sequential or _has_plain_order(model):
        for name, child in model.named_children():
            yield from _leaves(child, f"{prefix}{name}.")
        return
    known = (nn.Linear, nn.Conv2d, nn.ReLU, nn.MaxPool2d, *_SHAPES, *_NORMS, *_AVERAGES)
    base = type(model).__mro__[1] if parametrize.is_parametrized(model) else type(model)
    if not (base in known or _is_same(model)):
        where = f" at {prefix[:-1]!r}" if prefix else ""
        raise ValueError(
            "`model` must be a chain of Linear, Conv2d, ReLU, pooling and BatchNorm for bounds "
            f"from its weights; got {type(model).__name__}{where}."
        )
    yield prefix.rstrip("."), model


def _has_plain_order(model: nn.Module) -> bool:
    return isinstance(model, nn.Sequential) and type(model).forward is nn.Sequential.forward


def _is_same(model: nn.Module) -> bool:
    """Return whether it is one of the library's SAME-padded layers."""
    return type(model).__name__ in ("SameConv2d", "SameMaxPool2d", "MeanPool")


def _shape_behind(module: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of what a module without weights of its own gives."""
    if isinstance(module, _NORMS):
        return shape
    with torch.no_grad():
        was = module.training
        found = module.eval()(torch.zeros(1, *shape))
        module.train(was)
    return tuple(found.shape[1:])


def _followed(
    link: Link, name: str, module: nn.Module, before: tuple[int, ...], after: tuple[int, ...]
) -> Link:
    """Return the link with a module behind it."""
    if isinstance(module, nn.ReLU):
        return replace(link, rectified=True)
    if isinstance(module, _NORMS):
        if link.rectified or link.pooled or link.averaged:
            raise ValueError(
                f"`model` must have BatchNorm straight behind a linear map; got {name!r} elsewhere."
            )
        return replace(link, operator=link.operator.normalized(module))
    if isinstance(module, _AVERAGES) or type(module).__name__ == "MeanPool":
        return replace(link, averaged=True, lipschitz=link.lipschitz)
    covered = _times_covered(module, before)
    size = _window(module)
    places = torch.Size(after).numel()
    return replace(
        link,
        pooled=True,
        lipschitz=link.lipschitz * covered**0.5,
        comparisons=link.comparisons + places * size * (size - 1) // 2,
    )


def _window(module: nn.Module) -> int:
    kernel: Any = getattr(module, "kernel_size", None) or getattr(module, "kernel", 1)
    return kernel[0] * kernel[1] if isinstance(kernel, tuple) else kernel * kernel


def _times_covered(module: nn.Module, before: tuple[int, ...]) -> int:
    """Return in how many windows of a max pooling one value can be."""
    kernel: Any = getattr(module, "kernel_size", None) or getattr(module, "kernel", 1)
    stride: Any = getattr(module, "stride", None) or kernel
    pairs = zip(_pair(kernel), _pair(stride), strict=True)
    covered = 1
    for k, s in pairs:
        covered *= -(-k // s)
    return covered


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)
