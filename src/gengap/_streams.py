"""Named random streams: every draw has a name, and no draw shifts another."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

Name = str | int


def derive_seed(seed: int, *names: Name) -> int:
    """Return the 63-bit seed that belongs to `seed` and a path of names.

    A hash, so that neighbouring seeds and names give unrelated streams.
    """
    text = "\x1f".join([str(int(seed)), *map(str, names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def streams(seed: int) -> Callable[..., torch.Generator]:
    """Return a function that maps a name, or a path of names, to its own generator.

    The generators live on the CPU; draws are moved to the device afterwards, so results do not
    depend on where the model runs. Calling twice with one name gives two equal generators.

    Args:
        seed: The root of every stream of a run. Any integer.

    Returns:
        A function: `streams(0)("labels")`, `streams(0)("batches", epoch)`.

    Examples:
        >>> torch.equal(
        ...     torch.rand(3, generator=streams(0)("labels")),
        ...     torch.rand(3, generator=streams(0)("labels")),
        ... )
        True
    """

    def stream(*names: Name) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(seed, *names))

    return stream


def example_stream(seed: int, name: Name, index: int) -> np.random.Generator:
    """Return the generator of one example, for draws that must not depend on the others.

    Counter-based (Philox): the key is the stream, the counter the example, so the streams of a
    data set never overlap and example 7 draws the same whichever examples are asked for.
    """
    key = derive_seed(seed, name)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, index]))


@contextmanager
def own_draws(seed: int) -> Iterator[None]:
    """Seed the global generators within the block and put them back behind it.

    For what cannot take a generator: initial weights, and networks that draw in `forward`. Not
    by `torch.manual_seed`, which keeps a stack trace of every call until there is a GPU.
    """
    on_gpu = torch.cuda.is_initialized()
    with torch.random.fork_rng(devices=list(range(torch.cuda.device_count())) if on_gpu else []):
        torch.default_generator.manual_seed(int(seed))
        if on_gpu:
            torch.cuda.manual_seed_all(int(seed))
        yield
