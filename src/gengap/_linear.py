"""The dense product of two matrices, at the rate that the processor has.

PyTorch gives float32 matrices to MKL, which leaves half of the vector units of some processors
(AMD's with AVX-512) unused; oneDNN, which is in the same build of PyTorch, does not.
"""

from functools import cache

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual
from torch.nn import functional as F

_SMALL, _THIN, _WIDE = 2**22, 32, 256
"""Multiplications, and rows or columns, too few to gain; rows of a weight worth a copy of x."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    r"""Return $x w^\top + b$ for x of shape [..., d], weight [o, d] and bias [o].

    `torch.nn.functional.linear`, to rounding. Large products in float32 on the CPU, of which
    nobody asks a derivative, are oneDNN's: on an AMD processor twice as fast with AVX-512, about
    a tenth with AVX2. A weight whose entries do not fill its memory is copied.
    """
    if has_faster_product(x, weight, bias) and not _is_differentiated(x, weight, bias):
        return _by_onednn(x, weight, bias)
    return F.linear(x, weight, bias)


def has_faster_product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> bool:
    """Say whether oneDNN has the product of these operands and gains; a graph is not its affair."""
    return _is_large(x, weight) and _suits(x, weight, bias)


def _by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the product; of a weight in pieces oneDNN's is right but a thousand times slower."""
    if not (weight.is_contiguous() or weight.T.is_contiguous()):
        weight = weight.contiguous()
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return found


def stacked_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, out: Tensor) -> Tensor:
    r"""Write $x_l w_l^\top + b_l$ into `out`, [l, b, o].

    x is [l, b, d], the weight [l, o, d], the bias [l, o].
    Many small products are one call, large ones are made one after the other.
    """
    if has_faster_product(x[0], weight[0], None if bias is None else bias[0]) and not (
        _is_differentiated(x, weight, bias)
    ):
        for i, found in enumerate(out):
            found.copy_(linear(x[i], weight[i], None if bias is None else bias[i]))
        return out
    if bias is None:
        return torch.bmm(x, weight.mT, out=out)
    return torch.baddbmm(bias.unsqueeze(1), x, weight.mT, out=out)


def _is_large(x: Tensor, weight: Tensor) -> bool:
    """Say whether a product is worth its overhead; an x that is not row after row is copied."""
    rows, columns = weight.shape
    volume = x.numel() * rows
    return (
        volume > _SMALL
        and min(rows, columns, volume // max(1, rows * columns)) >= _THIN
        and (rows >= _WIDE or x.is_contiguous())
    )


def _is_differentiated(*operands: Tensor | None) -> bool:
    """Say whether a graph is recorded of what is made of these."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in operands)


def _suits(*operands: Tensor | None) -> bool:
    """Say whether oneDNN has the product of these, and no tangent would be lost."""
    given = [t for t in operands if t is not None]
    return (
        bool(torch.backends.mkldnn.enabled)
        and not torch.is_autocast_enabled("cpu")
        and all(t.dtype == torch.float32 and t.device.type == "cpu" for t in given)
        and all(unpack_dual(t).tangent is None for t in given)
        and torch._C._functorch.peek_interpreter_stack() is None  # it has no rule for `vmap`
        and _has_onednn()
    )


@cache
def _has_onednn() -> bool:
    """Say whether this PyTorch has the operation, under its present name and arguments."""
    if not torch.backends.mkldnn.is_available():
        return False
    try:
        schema = torch.ops.mkldnn._linear_pointwise.default._schema
    except (AttributeError, RuntimeError):
        return False
    return [a.name for a in schema.arguments] == ["X", "W", "B", "attr", "scalars", "algorithm"]
