"""One network to stand for all its rescalings: the one with the shortest weights."""

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn

from ._exponential_sum import ExponentialSum
from ._symmetries import Symmetries

_ROUNDS, _STILL = 30, 1e-11


def loose_scales(found: Symmetries) -> Tensor:
    """Return which log-scales can grow or shrink for ever, a mask [num_scales].

    Those that only running statistics take up, and those that only divide weights whose own
    length is such. Sharpness has no minimum along them: it goes to zero.
    """
    loose = torch.zeros(found.num_scales + 1, dtype=torch.bool)
    divides = torch.zeros(found.num_scales + 1, dtype=torch.bool)
    for pair in found.exponents.values():
        divides[_below(pair.minus)] = True
        divides[_below(-pair.plus)] = True
    loose |= ~divides
    while True:
        tight = torch.zeros_like(loose)
        for pair in found.exponents.values():
            plus, minus = torch.broadcast_tensors(pair.plus, pair.minus)
            held = ~loose[plus.clamp(min=0)] | (plus <= 0)
            tight[_below(minus[held])] = True
            tight[_below(-pair.plus)] = True
        tight |= ~divides & ~loose
        new = loose | (divides & ~tight)
        if torch.equal(new, loose):
            return loose[1:]
        loose = new


def bounded_scales(found: Symmetries, model: nn.Module) -> Tensor:
    r"""Return along which log-scales the curvature of trained weights is held, [num_scales].

    Each trained weight that is not zero, of factor $e^{t_i - t_k}$, is an edge from k to i of a
    graph, node 0 for no scale, and one from -i to -k, the inverse scales. Its curvature goes as
    $e^{-2 (t_i - t_k)}$. Along a direction in which no edge's $t_i - t_k$ falls, those outside of
    cycles can grow for ever. So a scale is held if a cycle ties it to its inverse.
    """
    size, edges = found.num_scales, [torch.zeros(0, dtype=torch.int64)]
    nodes = 2 * size + 1
    for name, pair in found.exponents.items():
        parameter = model.get_parameter(name)
        if parameter.requires_grad:
            plus, minus = torch.broadcast_tensors(pair.plus, pair.minus)
            some = parameter.detach().ne(0).double().cpu().sum_to_size(plus.shape) > 0
            i, k = plus[some] + size, minus[some] + size
            edges += [(k * nodes + i).unique(), ((2 * size - i) * nodes + 2 * size - k).unique()]
    keys = torch.cat(edges).numpy()
    rows, columns = (keys // nodes).astype(np.int32), (keys % nodes).astype(np.int32)
    graph = coo_array((np.ones(len(keys), bool), (rows, columns)), shape=(nodes, nodes))
    _, cycle = connected_components(graph, connection="strong")
    return torch.from_numpy(cycle[size + 1 :] == cycle[:size][::-1])


def _below(numbers: Tensor) -> Tensor:
    """Return the numbers of scales that divide, that is, the positive ones."""
    return numbers[numbers > 0].unique()


def balance(found: Symmetries, model: nn.Module) -> tuple[Tensor, Tensor]:
    r"""Return the log-scales that lead to the balanced network, and which of them have a minimum.

    The sum of squares $\sum_j \theta_j^2 e^{2 a_j \cdot t}$ is convex in t; where it is least,
    what enters a unit is as long as what leaves it. There is one such network for all rescalings
    of a given one. Loose scales, of which weights would shrink to nothing, are set so that what
    they multiply has length one, unit by unit. Where BatchNorm's weights had to help its
    variances this moves them again, so it is repeated until nothing moves. Frozen weights count
    as others do here, but a curvature is only bounded along scales that trained weights hold on
    both sides.
    """
    total, current = found.log_scales(), model
    for _ in range(_ROUNDS if found.norms else 1):
        step, free = _balance_once(found, current)
        total = total + step
        if float(step.abs().max()) < _STILL:
            break
        current = found.apply(model, total)
    return total, free & bounded_scales(found, model)


def _balance_once(found: Symmetries, model: nn.Module) -> tuple[Tensor, Tensor]:
    loose = loose_scales(found)
    squares = {name: p.detach().double().square() for name, p in model.named_parameters()}
    ends = _ends(found, squares)
    counted = {}
    for name, pair in found.exponents.items():
        numbers = pair.plus.clamp(min=0)
        free = (pair.plus > 0) & torch.cat([torch.zeros(1).bool(), loose])[numbers]
        counted[name] = squares[name] * (~free).to(squares[name].device)
    tight = ~loose & ends
    log_scales = ExponentialSum(found, counted, 2.0).least(tight).log_scales
    for number in (loose & ends).nonzero().reshape(-1).tolist():
        log_scales[number] = -0.5 * _length(found, squares, number + 1, log_scales)
    return log_scales, tight


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
    found: Symmetries, squares: dict[str, Tensor], number: int, log_scales: Tensor
) -> Tensor:
    """Return the logarithm of the squared length of what a scale multiplies, itself at 0."""
    total, current = torch.zeros((), dtype=torch.float64), log_scales.clone()
    current[number - 1] = 0.0
    for name, pair in found.exponents.items():
        if not bool((pair.plus == number).any()):
            continue
        factors = (2 * pair.log_factors(current)).exp()
        held = (pair.plus == number).expand(torch.broadcast_shapes(pair.plus.shape, factors.shape))
        values = squares[name].cpu().sum_to_size(held.shape)
        total = total + (values * factors * held).sum()
    return total.clamp(min=1e-300).log()
