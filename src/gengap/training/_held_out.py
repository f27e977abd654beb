"""Which examples a run trains on, and which it sets aside for early stopping."""

import torch
from torch import Tensor

from gengap._streams import streams
from gengap.data import Split

from ._lane import Lane
from ._recipe import Recipe


def number_trained(n: int, recipe: Recipe) -> int:
    """Return how many of n examples are trained on.

    Raises:
        ValueError: None are, or none are held out for early stopping.
    """
    if recipe.early_stopping is None:
        return n
    held_out = round(recipe.held_out * n)
    if not 0 < held_out < n:
        raise ValueError(
            f"`held_out` must leave examples on both sides; got {recipe.held_out} of {n}."
        )
    return n - held_out


def set_aside(lanes: list[Lane], recipe: Recipe) -> tuple[list[Split], list[Split], list[Tensor]]:
    """Return what each lane trains on, what it holds out, and the rows of the first, [n]."""
    if recipe.early_stopping is None:
        return [lane.split for lane in lanes], [], [torch.arange(len(lane.split)) for lane in lanes]
    kept, held, rows = [], [], []
    for lane in lanes:
        n = len(lane.split)
        count = n - number_trained(n, recipe)
        order = torch.randperm(n, generator=streams(lane.seed)("held_out"))
        rows.append(order[count:].sort().values)
        held.append(lane.split[order[:count].sort().values])
        kept.append(lane.split[rows[-1]])
    return kept, held, rows
