"""Random signs, and the parts of a split that get probes of their own."""

import numpy as np
import torch
from torch import Tensor

from gengap.risk import Risk

_PARTS, _LEAST = 64, 8


def signs(k: int, like: Tensor, generator: torch.Generator) -> Tensor:
    """Return k rows of independent signs, +1 or -1, as long as a vector and in its dtype."""
    p = like.shape[-1]
    drawn = torch.randint(0, 256, (k, -(-p // 8)), dtype=torch.uint8, generator=generator)
    bits = torch.from_numpy(np.unpackbits(drawn.numpy(), axis=1)[:, :p])
    return bits.to(like).mul_(2).sub_(1)


def parts_of(risk: Risk) -> list[Risk]:
    """Return up to 64 parts of a risk's examples, neighbours together, none above its chunk."""
    size = min(risk.chunk, max(_LEAST, -(-risk.n // _PARTS)))
    return [risk[start : start + size] for start in range(0, risk.n, size)]
