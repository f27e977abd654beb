"""Norms of a chain of layers, as bounds on its Rademacher complexity take them.

Where a layer has a bias, all layers take (x, 1) to (W x + b, 1), so that the bounds hold for the
network as it is; the constant counts in every norm.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from ._chain import Link

Chain = Sequence[Link]


def has_bias(links: Chain) -> bool:
    """Return whether any layer has a bias."""
    return any(link.operator.bias is not None for link in links)


def check_peeled(links: Chain) -> None:
    """Require that a bound that takes layers off one by one holds for the chain.

    Raises:
        ValueError: There is max pooling, which no such step covers, or the last layer is a
            convolution.
    """
    if any(link.pooled for link in links):
        raise ValueError(
            "`model` must not have max pooling for this bound, whose proof takes units one by one; "
            "the spectral bound and the VC bound cover it."
        )
    if links[-1].operator.weight.ndim == 4 or links[-1].averaged:
        raise ValueError("`model` must end in a Linear layer for this bound.")


def rows(link: Link, power: int) -> Tensor:
    """Return the sum of |weight|^power of every unit, bias counted, [units]."""
    return link.operator.row_sums(power) + link.operator.full_bias().abs() ** power


def last_rows(links: Chain) -> float:
    """Return the sum over outputs of the length of their weights."""
    return float(rows(links[-1], 2).sqrt().sum())


def log_frobenius(links: Chain) -> float:
    """Return the log of the product of Frobenius norms of all layers but the last."""
    constant = float(has_bias(links))
    return sum(0.5 * math.log(float(rows(link, 2).sum()) + constant) for link in links[:-1])


def input_squares(links: Chain, squares: Tensor, n: int) -> float:
    """Return the sum over examples of |x|^2, the constant counted.

    Args:
        links: The chain.
        squares: Sum over examples of the squares of the inputs, [...].
        n: Examples.
    """
    return float(squares.sum()) + n * has_bias(links)


def patch_squares(links: Chain, squares: Tensor, n: int) -> float:
    """Return the same for the patch of the first layer for which it is largest."""
    first = links[0].operator
    if first.weight.ndim == 2:
        return input_squares(links, squares, n)
    ones = torch.ones_like(first.weight)
    found = first.apply(squares[None], weight=ones)
    return float(found.max()) + n * has_bias(links)


def seen_positions(links: Chain) -> list[int]:
    """Return for all layers but the last how many of its positions one unit behind it sees."""
    found = []
    for link, behind in pairwise(links):
        if link.operator.weight.ndim == 2:
            found.append(1)
        elif behind.operator.weight.ndim == 2 or link.averaged:
            found.append(link.operator.positions)
        else:
            kernel = behind.operator.weight.shape[2:]
            found.append(min(kernel.numel(), link.operator.positions))
    return found


def log_shared(links: Chain) -> float:
    """Return the log of the product over all layers but the last of sqrt(q |K|_F^2 (+ 1)).

    K are the weights as they are shared, q the positions that a unit behind sees.
    """
    constant, total = float(has_bias(links)), 0.0
    for link, seen in zip(links[:-1], seen_positions(links), strict=True):
        own = link.operator
        square = float(own.weight.square().sum())
        square += 0.0 if own.bias is None else float(own.bias.square().sum())
        total += 0.5 * math.log(seen * square + constant)
    return total


def path_norm(links: Chain) -> float:
    """Return the sum over all paths, those from biases too, of |product of weights|."""
    with torch.no_grad():
        x = torch.ones(1, *links[0].operator.input_shape, dtype=torch.float64)
        for k, link in enumerate(links):
            own = link.operator
            shape = own.output_shape
            x = own.apply(x.reshape(1, *own.input_shape), weight=own.weight.abs())
            x = x + own.full_bias().abs().view(1, *shape)
            if link.averaged:
                x = _averaged(x, links[k + 1].operator.input_shape)
    return float(x.sum())


def _averaged(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return an upper bound on averages of positive values: their largest, in every channel."""
    top = F.adaptive_max_pool2d(x, 1)
    if len(shape) == 3:
        return top.expand(1, *shape)
    repeats = math.prod(shape) // top.shape[1]
    return top.flatten(1).repeat_interleave(repeats, dim=1)


def spectral_complexity(links: Chain, start: Chain | None = None) -> float:
    r"""Return $\prod_i s_i \rho_i \big(\sum_i (b_i / s_i)^{2/3}\big)^{3/2}$.

    s are the spectral norms, rho the factors of pooling, b the sums over units of the length of
    weights less those of the reference.

    Args:
        links: The chain.
        start: The reference, such as the network before training; None is zero.

    Source:
        Bartlett, Foster and Telgarsky (2017), arXiv:1706.08498, equation 1.2.
    """
    augmented = has_bias(links)
    tops = [
        link.operator.spectral_norm(augmented=augmented, last=link is links[-1]) for link in links
    ]
    if min(tops) == 0:
        return 0.0
    moved = links if start is None else [_less(a, b) for a, b in zip(links, start, strict=True)]
    away = [float(rows(link, 2).sqrt().sum()) for link in moved]
    spread = sum((b / s) ** (2 / 3) for b, s in zip(away, tops, strict=True))
    log = sum(math.log(s * link.lipschitz) for s, link in zip(tops, links, strict=True))
    return math.exp(min(log + 1.5 * math.log(spread), 700.0)) if spread else 0.0


def _less(link: Link, start: Link) -> Link:
    own, other = link.operator, start.operator
    if own.weight.shape != other.weight.shape:
        raise ValueError(
            "`start` must be a network of the same layers; got weights of shape "
            f"{tuple(other.weight.shape)} for {tuple(own.weight.shape)}."
        )
    bias = None if own.bias is None else own.bias - (0 if other.bias is None else other.bias)
    return replace(link, operator=replace(own, weight=own.weight - other.weight, bias=bias))
