"""Checks of input shapes and class counts, shared by the builders of models."""

import math

from gengap._checks import check_count


def check_outputs(num_classes: int) -> None:
    """Require at least one output."""
    check_count("num_classes", num_classes)


def num_features(input_shape: tuple[int, ...]) -> int:
    """Return the numbers in one example of any shape."""
    if not input_shape:
        raise ValueError("`input_shape` must have at least one axis; got ().")
    for side in input_shape:
        check_count("input_shape", side)
    return math.prod(input_shape)


def image_shape(input_shape: tuple[int, ...], *, model: str, least: int) -> tuple[int, int, int]:
    """Return (channels, height, width), or say why the model cannot take such examples."""
    num_features(input_shape)
    if len(input_shape) != 3:
        raise ValueError(
            f"`input_shape` of {model} must be (channels, height, width); got "
            f"{tuple(input_shape)}. Use mlp or linear for other examples."
        )
    channels, height, width = input_shape
    if min(height, width) < least:
        raise ValueError(
            f"`input_shape` of {model} must have sides of at least {least}; got {height}x{width}."
        )
    return channels, height, width
