"""Random signs, and the parts of a split that get probes of their own."""

import numpy as np
import torch
from torch import Tensor

from gengap.risk import Risk

from ._curvature import Curvature

_LEAST_PARTS, _LEAST_SIZE, _BALANCE = 8, 16, 32


def signs(k: int, like: Tensor, generator: torch.Generator) -> Tensor:
    """Return k rows of independent signs, +1 or -1, as long as a vector and in its dtype."""
    p = like.shape[-1]
    drawn = torch.randint(0, 256, (k, -(-p // 8)), dtype=torch.uint8, generator=generator)
    bits = torch.from_numpy(np.unpackbits(drawn.numpy(), axis=1)[:, :p])
    return bits.to(like).mul_(2).sub_(1)


def parts_of(operator: Curvature) -> list[Risk]:
    """Return parts of the examples, neighbours together, that get probes of their own.

    Small parts make more of them independent, but every part costs passes over a vector [p]: the
    balance is a size of the root of the bytes of the parameters over those of an example's graph.
    A part has at least 16 examples: with less, calls cost more than numbers, and the curvatures
    of the parts differ by more than what their number takes off the variance.
    """
    risk, width = operator.risk, operator.shape[0] * operator.dtype.itemsize
    size = round((_BALANCE * width / operator.example_bytes) ** 0.5)
    size = max(1, min(max(size, _LEAST_SIZE), risk.chunk, risk.n // _LEAST_PARTS))
    return [risk[start : start + size] for start in range(0, risk.n, size)]
