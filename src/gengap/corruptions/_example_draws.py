"""Draws that belong to one example: the same whichever other examples are asked for."""

import numpy as np
import torch
from torch import Tensor

from gengap._streams import example_stream


def example_permutations(seed: int, name: str, indices: Tensor, size: int) -> Tensor:
    """Return a random permutation of 0..size-1 for each example, int64 [b, size]."""
    orders = np.empty((len(indices), size), dtype=np.int64)
    orders[:] = np.arange(size)
    for order, index in zip(orders, indices.tolist(), strict=True):
        example_stream(seed, name, index).shuffle(order)
    return torch.from_numpy(orders)


def example_normals(seed: int, name: str, indices: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return standard normal draws for each example, float32 [b, *shape]."""
    draws = np.empty((len(indices), *shape), dtype=np.float32)
    for draw, index in zip(draws, indices.tolist(), strict=True):
        example_stream(seed, name, index).standard_normal(dtype=np.float32, out=draw)
    return torch.from_numpy(draws)
