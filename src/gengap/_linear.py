"""The dense product of two matrices, at the rate that the processor has.

PyTorch gives float32 matrices to MKL, which leaves half of the vector units of some processors
(AMD's with AVX-512) unused; oneDNN, which is in the same build of PyTorch, does not.
"""

from functools import cache

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual
from torch.nn import functional as F

_SMALL = 2**22
"""Multiplications of a product too small to gain."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    r"""Return $x w^\top + b$ for x of shape [..., d], weight [o, d] and bias [o].

    `torch.nn.functional.linear`, to rounding. Large products in float32 on the CPU, of which
    nobody asks a derivative, are oneDNN's: on an AMD processor twice as fast with AVX-512, about
    a tenth with AVX2. Transposed matrices are taken as they lie in memory.
    """
    if x.numel() * len(weight) <= _SMALL or not _suits(x, weight, bias):
        return F.linear(x, weight, bias)
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return found


def _suits(*operands: Tensor | None) -> bool:
    """Say whether oneDNN has the product of these, and no derivative would be lost."""
    given = [t for t in operands if t is not None]
    wanted = torch.is_grad_enabled() and any(t.requires_grad for t in given)
    return (
        bool(torch.backends.mkldnn.enabled)
        and not wanted
        and not torch.is_autocast_enabled("cpu")
        and all(t.dtype == torch.float32 and t.device.type == "cpu" for t in given)
        and all(unpack_dual(t).tangent is None for t in given)
        and _has_onednn()
    )


@cache
def _has_onednn() -> bool:
    """Say whether this PyTorch has the operation, under its present name and arguments."""
    try:
        schema = torch.ops.mkldnn._linear_pointwise.default._schema
    except (AttributeError, RuntimeError):
        return False
    return [a.name for a in schema.arguments] == ["X", "W", "B", "attr", "scalars", "algorithm"]
