"""Preprocessing fitted to stored examples: scale, and mean and deviation of every channel."""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from ._preprocessing import Preprocessing
from ._source import Source

_CHUNK = 2**24


def fitted(
    inputs: Tensor | Source, standardize: Literal["image", "dataset"] | None
) -> Preprocessing:
    """Return the default preprocessing: bytes are divided by 255; standardized as asked.

    With "dataset", mean and population standard deviation of every channel or feature (axis 1)
    are taken over all examples; a feature that never varies is only centred.
    """
    scale = 255.0 if inputs.dtype == torch.uint8 else 1.0
    if standardize != "dataset":
        return Preprocessing(scale=scale, standardize=standardize)
    mean, variance = moments(inputs)
    std = torch.where(variance > 0, variance.sqrt() / scale, 1.0)
    return Preprocessing(
        scale=scale,
        standardize="dataset",
        mean=tuple((mean / scale).tolist()),
        std=tuple(std.tolist()),
    )


def moments(inputs: Tensor | Source) -> tuple[Tensor, Tensor]:
    """Return mean and population variance along axis 1, float64, merged chunk by chunk."""
    count = 0
    mean = torch.zeros(inputs.shape[1], dtype=torch.float64)
    squares = torch.zeros_like(mean)
    for chunk in _chunks(inputs):
        values = chunk.double().transpose(0, 1).flatten(1).cpu()  # [channels, values]
        size = values.shape[1]
        centre = values.mean(1)
        shift = centre - mean
        squares += (values - centre[:, None]).square().sum(1)
        squares += shift.square() * (count * size / (count + size))
        mean += shift * (size / (count + size))
        count += size
    return mean, squares / count


def _chunks(inputs: Tensor | Source) -> Iterator[Tensor]:
    example = 1
    for size in inputs.shape[1:]:
        example *= size
    rows = max(1, _CHUNK // example)
    for start in range(0, len(inputs), rows):
        indices = torch.arange(start, min(start + rows, len(inputs)))
        yield (
            inputs[indices.to(inputs.device)]
            if isinstance(inputs, Tensor)
            else inputs.gather(indices)
        )
