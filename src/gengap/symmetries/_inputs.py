"""Example inputs: those given, the first rows of a split, or a guess."""

from typing import Any

import torch
from torch import Tensor, nn

from gengap._streams import streams
from gengap.data import Split

_ROWS = 2
_SIDES = (32, 28, 224, 64, 16, 8, 96, 128, 299)
_KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Embedding)


def as_inputs(model: nn.Module, example_inputs: Any) -> tuple[Any, ...]:
    """Return the positional arguments of one forward pass, of a few rows.

    Raises:
        ValueError: Nothing was given, and no guess from the first layer fits; or no example.
    """
    _check_some(example_inputs)
    if isinstance(example_inputs, Split):
        x, _ = example_inputs.batch(torch.arange(min(_ROWS, len(example_inputs))))
        return (_like(model, x),)
    if isinstance(example_inputs, Tensor):
        return (_like(model, example_inputs[: 4 * _ROWS]),)
    if isinstance(example_inputs, (tuple, list)):
        return tuple(_like(model, x) if isinstance(x, Tensor) else x for x in example_inputs)
    if example_inputs is not None:
        raise TypeError(
            "`example_inputs` must be a tensor, a tuple of arguments, or a Split; got "
            f"{type(example_inputs).__name__}."
        )
    return (_guess(model),)


def _check_some(example_inputs: Any) -> None:
    several = example_inputs if isinstance(example_inputs, (tuple, list)) else [example_inputs]
    first = next((x for x in several if isinstance(x, Tensor)), None)
    if first is not None and not first.numel():
        raise ValueError(
            "`example_inputs` must hold at least one example; got a tensor of shape "
            f"{tuple(first.shape)}."
        )


def _like(model: nn.Module, x: Tensor) -> Tensor:
    first = next((p for p in model.parameters() if p.is_floating_point()), None)
    if first is None:
        return x
    return x.to(first.device, first.dtype if x.is_floating_point() else x.dtype)


def _guess(model: nn.Module) -> Tensor:
    """Return inputs that the model takes, guessed from its first layer."""
    generator = streams(0)("example inputs")
    first = next((m for m in model.modules() if isinstance(m, _KINDS)), None)
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        for shape in [] if first is None else _shapes(first):
            if isinstance(first, nn.Embedding):
                x = torch.randint(first.num_embeddings, shape, generator=generator)
            else:
                x = torch.randn(shape, generator=generator)
            try:
                with torch.no_grad():
                    model(_like(model, x))
            except Exception:
                continue
            return _like(model, x)
    finally:
        for module, mode in training.items():
            module.training = mode
    raise ValueError(
        "`example_inputs` must be given for this model, because no guess of their shape from its "
        "first layer fits; got None."
    )


def _shapes(first: nn.Module) -> list[tuple[int, ...]]:
    if isinstance(first, nn.Linear):
        width = first.in_features
        side = round((width / 3) ** 0.5), round(width**0.5)
        shapes = [(_ROWS, width), (_ROWS, 8, width), (_ROWS, 3, side[0], side[0])]
        return [*shapes, (_ROWS, 1, side[1], side[1])]
    if isinstance(first, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        dimensions = len(first.kernel_size)
        return [(_ROWS, first.in_channels, *[side] * dimensions) for side in _SIDES]
    return [(_ROWS, 8), (_ROWS, 32), (_ROWS, 128)]
