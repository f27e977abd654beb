"""One network to stand for all its rescalings: the one with the shortest weights."""

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn

from ._exponential_sum import ExponentialSum
from ._symmetries import Symmetries

_ROUNDS, _STILL = 30, 1e-11


def _cycles(found: Symmetries, model: nn.Module, *, trained: bool) -> Tensor:
    r"""Return which scales hold each other: one number for all on a cycle, [2 num_scales + 1].

    Each weight that is not zero, of factor $e^{t_i - t_k}$, is an edge from k to i of a graph, and
    one from -i to -k, the inverse scales. Nodes are all scales from the last one's inverse to the
    last one, with no scale, 0, in the middle. Along a direction in which no edge's $t_i - t_k$
    falls, those outside of cycles can grow for ever, and then their curvature, which goes as
    $e^{-2 (t_i - t_k)}$, falls to zero. So a scale has a minimum if a cycle ties it to its inverse.

    Args:
        found: The symmetries.
        model: The network.
        trained: Whether only trained weights count.
    """
    size, edges = found.num_scales, [torch.zeros(0, dtype=torch.int64)]
    nodes = 2 * size + 1
    for name, pair in found.exponents.items():
        parameter = model.get_parameter(name)
        if parameter.requires_grad or not trained:
            plus, minus = torch.broadcast_tensors(pair.plus, pair.minus)
            some = parameter.detach().ne(0).double().cpu().sum_to_size(plus.shape) > 0
            i, k = plus[some] + size, minus[some] + size
            edges += [(k * nodes + i).unique(), ((2 * size - i) * nodes + 2 * size - k).unique()]
    keys = torch.cat(edges).numpy()
    rows, columns = (keys // nodes).astype(np.int32), (keys % nodes).astype(np.int32)
    graph = coo_array((np.ones(len(keys), bool), (rows, columns)), shape=(nodes, nodes))
    _, cycles = connected_components(graph, connection="strong")
    return torch.from_numpy(cycles).long()


def _sides(cycles: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cycles of all scales and those of their inverses."""
    size = len(cycles) // 2
    return cycles[size + 1 :], cycles[:size].flip(0)


def balance(found: Symmetries, model: nn.Module) -> tuple[Tensor, Tensor]:
    r"""Return the log-scales that lead to the balanced network, and which of them have a minimum.

    The sum of squares $\sum_j \theta_j^2 e^{2 a_j \cdot t}$ is convex in t; where it is least,
    what enters a unit is as long as what leaves it. There is one such network for all rescalings
    of a given one. Loose scales, along which weights would shrink to nothing, are set so that what
    they multiply has length one, unit by unit. Where BatchNorm's weights had to help its
    variances this moves them again, so it is repeated until nothing moves. Frozen weights count
    as others do here, but not where a curvature is to have a minimum.
    """
    total, current = found.log_scales(), model
    for _ in range(_ROUNDS if found.norms else 1):
        step, free = _balance_once(found, current)
        total = total + step
        if float(step.abs().max()) < _STILL:
            break
        current = found.apply(model, total)
    own, inverse = _sides(_cycles(found, model, trained=True))
    return total, free & (own == inverse)


def _balance_once(found: Symmetries, model: nn.Module) -> tuple[Tensor, Tensor]:
    squares = {name: p.detach().double().square() for name, p in model.named_parameters()}
    cycles = _cycles(found, model, trained=False)
    own, inverse = _sides(cycles)
    ends, first = _ends(found, squares), _leaders(own, inverse)
    counted = {}
    for name, pair in found.exponents.items():
        held = cycles[pair.plus + found.num_scales] == cycles[pair.minus + found.num_scales]
        counted[name] = squares[name] * held.to(squares[name].device)
    log_scales = ExponentialSum(found, counted, 2.0).least(~first & ends).log_scales
    for number in (first & ends).nonzero().reshape(-1).tolist():
        along = (own == own[number]).double() - (inverse == own[number]).double()
        log_scales = log_scales - 0.5 * _length(found, squares, along, log_scales) * along
    return log_scales, (own == inverse) & ends


def _leaders(own: Tensor, inverse: Tensor) -> Tensor:
    """Return which scales are the first of those that are loose together, a mask."""
    first, seen = torch.zeros(len(own), dtype=torch.bool), set()
    for number in (own != inverse).nonzero().reshape(-1).tolist():
        pair = frozenset((int(own[number]), int(inverse[number])))
        first[number] = pair not in seen
        seen.add(pair)
    return first


def _ends(found: Symmetries, squares: dict[str, Tensor]) -> Tensor:
    """Return which scales multiply something, and divide something or nothing at all."""
    size = found.num_scales + 1
    up, down, divides = torch.zeros(size), torch.zeros(size), torch.zeros(size)
    for name, pair in found.exponents.items():
        plus, minus = torch.broadcast_tensors(pair.plus, pair.minus)
        weight = squares[name].cpu().sum_to_size(plus.shape).reshape(-1).float()
        some = (weight > 0).float()
        for numbers, sign in ((plus, 1), (minus, -1)):
            flat = sign * numbers.reshape(-1)
            up.index_add_(0, flat.clamp(min=0), some)
            down.index_add_(0, (-flat).clamp(min=0), some)
            divides.index_add_(0, (-flat).clamp(min=0), torch.ones_like(some))
    return ((up > 0) & ((down > 0) | (divides == 0)))[1:]


def _length(
    found: Symmetries, squares: dict[str, Tensor], along: Tensor, log_scales: Tensor
) -> Tensor:
    """Return the logarithm of the squared length of what grows along a direction; 0 for none."""
    total = torch.zeros((), dtype=torch.float64)
    padded = torch.cat([along.new_zeros(1), along])
    for name, pair in found.exponents.items():
        if padded[pair.plus.abs()].any() or padded[pair.minus.abs()].any():
            grows = pair.log_factors(along) > 0
            factors = (2 * pair.log_factors(log_scales)).exp()
            values = squares[name].cpu().sum_to_size(grows.shape)
            total = total + (values * factors * grows).sum()
    return total.log() if total > 0 else total
