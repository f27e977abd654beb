"""How many runs share a program: lanes, one after the other, or processes."""

import os
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import nn

from gengap._copies import copy_of

from ._dropout import seed_dropout
from ._perceptron_program import perceptron_layers
from ._recipe import Recipe

_MOST_LANES = 16
_LARGEST_LANE = 200_000
_GPU_LANES = 64
_GPU_BYTES = 4 << 30


@final
@dataclass(frozen=True)
class Packing:
    """How runs of one network are packed.

    The number of lanes decides the arithmetic and follows from the specification; the number of
    workers does not touch it, because every worker computes with one thread.

    Attributes:
        lanes: Most runs a program.
        workers: Most processes; 1 means this process.
        why: One sentence.
        programs: Fewest programs, where there are as many runs, so that two cores have work. It
            is a constant, not the number of cores: the same trials are packed alike everywhere.
    """

    lanes: int
    workers: int
    why: str
    programs: int = 1

    def sizes(self, runs: int) -> list[int]:
        """Return how many of `runs` go into each program: as even as can be."""
        count = max(-(-runs // self.lanes), min(self.programs, runs))
        return [runs // count + (k < runs % count) for k in range(count)]

    @property
    def way(self) -> Literal["lanes", "one by one", "processes"]:
        """What the packing amounts to."""
        if self.lanes > 1:
            return "lanes"
        return "processes" if self.workers > 1 else "one by one"


def choose_packing(
    model: nn.Module,
    recipe: Recipe,
    *,
    device: torch.device,
    lanes: int | None = None,
    workers: int | None = None,
) -> Packing:
    """Choose how to pack runs of `model`.

    Measured with `benchmarks/lanes.py`: on a CPU a stack pays for perceptrons of up to about
    200,000 parameters, several times over; larger networks and convolutions use a core well by
    themselves, and run best one a core. On a GPU a stack pays while the chip is not full.

    Args:
        model: The network.
        recipe: How it is trained.
        device: Where.
        lanes: Most runs a program; None chooses from the specification alone.
        workers: Most processes; None means one a core, and one in all on a GPU.
    """
    size = sum(p.numel() for p in model.parameters())
    if device.type != "cpu":
        chosen = max(1, min(_GPU_LANES, _GPU_BYTES // (16 * max(1, size))))
        return Packing(lanes or chosen, 1, "A stack of runs fills the GPU.")
    if workers is None:
        workers = available_cores()
    if not hasattr(os, "fork"):
        workers = 1
    if size <= _LARGEST_LANE and is_perceptron(model, recipe):
        why = "Small perceptrons are fastest as a stack."
        return Packing(lanes or _MOST_LANES, workers, why, 1 if lanes else 2)
    return Packing(lanes or 1, workers, "A network of this kind fills a core by itself.")


def is_perceptron(model: nn.Module, recipe: Recipe) -> bool:
    """Return whether the batched perceptron program can train this network."""
    if recipe.precision != "float32" or any(r.layers for r in recipe.regularizers):
        return False
    twin = copy_of(model)
    seed_dropout(twin, None)
    return perceptron_layers(twin) is not None


def available_cores() -> int:
    """Return the number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
