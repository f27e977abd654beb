"""The random numbers that a module may draw, from PyTorch, NumPy, Python and its own generators."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn


@final
class Draws:
    """Where all generators are that a module can reach, to know or undo that it drew."""

    def __init__(self, module: nn.Module) -> None:
        """Note the state of every generator."""
        self._held = [(get(), get, give) for get, give in _generators(module)]

    def moved(self) -> bool:
        """Whether somebody has drawn since."""
        return not all(_is_same(state, get()) for state, get, _ in self._held)

    def restore(self) -> None:
        """Undo all draws since."""
        for state, _, give in self._held:
            give(state)


def _generators(module: nn.Module) -> Iterator[tuple[Callable[[], Any], Callable[[Any], Any]]]:
    """Yield how to get and how to set the state of each generator."""
    yield torch.get_rng_state, torch.set_rng_state
    yield random.getstate, random.setstate
    yield partial(np.random.get_state, legacy=False), np.random.set_state
    for device in {t.device for t in (*module.parameters(), *module.buffers()) if t.is_cuda}:
        yield partial(torch.cuda.get_rng_state, device), partial(_set_cuda, device)
    for part in module.modules():
        for value in _near(vars(part).values()):
            if isinstance(value, torch.Generator):
                yield value.get_state, value.set_state
            elif isinstance(value, random.SystemRandom):
                continue
            elif isinstance(value, random.Random):
                yield value.getstate, value.setstate
            elif isinstance(value, np.random.RandomState):
                yield partial(value.get_state, legacy=False), value.set_state
            elif isinstance(value, np.random.Generator):
                bits = value.bit_generator
                yield partial(getattr, bits, "state"), partial(setattr, bits, "state")


def _near(values: Iterable[Any]) -> Iterator[Any]:
    """Yield values, and what lists, tuples and dicts among them hold."""
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from value
        elif isinstance(value, dict):
            yield from value.values()
        else:
            yield value


def _set_cuda(device: torch.device, state: Tensor) -> None:
    torch.cuda.set_rng_state(state, device)


def _is_same(before: Any, after: Any) -> bool:
    if isinstance(before, Tensor):
        return torch.equal(before, after)
    if isinstance(before, np.ndarray):
        return np.array_equal(before, after)
    if isinstance(before, Mapping):
        return all(_is_same(value, after[key]) for key, value in before.items())
    return bool(before == after)
