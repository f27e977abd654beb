"""Draws that go through PyTorch's global generators, without a trace."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def own_draws(seed: int) -> Iterator[None]:
    """Seed the global generators within the block and put them back behind it.

    For what cannot take a generator: initial weights, and networks that draw in `forward`. Not
    by `torch.manual_seed`, which keeps a stack trace of every call until there is a GPU.
    """
    on_gpu = torch.cuda.is_initialized()
    with torch.random.fork_rng(devices=list(range(torch.cuda.device_count())) if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            torch.cuda.manual_seed_all(seed)
        yield
