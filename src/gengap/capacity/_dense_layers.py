"""A network that memorizes, written out as ordinary dense layers."""

import torch
from torch import Tensor, nn

from ._given_linear import given_linear
from ._memorized import Memorized
from ._ramps import Ramps


@torch.no_grad()
def dense_layers(module: Memorized) -> nn.Sequential:
    r"""Return the same function as Linear and ReLU layers in turn, with all their zeros and ones.

    A hidden layer holds, in this order, its own ramps, $\max(\langle a, x \rangle - b_1, 0)$ unless
    it is the last, and the sums so far unless it is the first. For looking at: n d numbers or (n /
    depth)^2 a layer instead of 2n + d, and with the rounding of plain sums.

    Args:
        module: What `memorize` returned.

    Returns:
        `depth` linear layers with ReLUs between them, after nn.Flatten, in float64; one output
        has shape [n, 1].
    """
    first, *others = (stage for stage in module.stages if isinstance(stage, Ramps))
    a, b, w = module.direction, first.thresholds, first.weights
    if not others:
        layers = [given_linear(a.expand(len(b), -1), -b), nn.ReLU(), given_linear(w.T)]
    else:
        layers = _deep(module, first, others)
    if module.head is not None:
        scores, last = module.head, layers[-1]
        assert isinstance(last, nn.Linear)
        bias = scores.weight @ last.bias + scores.bias
        layers[-1] = given_linear(scores.weight @ last.weight, bias)
    return nn.Sequential(nn.Flatten(), *layers)


def _deep(module: Memorized, first: Ramps, others: list[Ramps]) -> list[nn.Module]:
    a, b = module.direction, torch.cat([first.thresholds, first.thresholds[:1]])
    layers: list[nn.Module] = [given_linear(a.expand(len(b), -1), -b), nn.ReLU()]
    shift = module.shift
    assert shift is not None
    outputs = len(shift)
    before, sums = first, 0
    for i, stage in enumerate(others):
        own, handed_on = len(stage.thresholds), int(i < len(others) - 1)
        ramps = len(before.thresholds)
        into = torch.zeros(own + handed_on + outputs, ramps + 1 + sums, dtype=torch.float64)
        into[: own + handed_on, ramps] = 1.0
        into[own + handed_on :] = _summed(before, outputs, sums, handed_on=1)
        bias = torch.zeros(len(into), dtype=torch.float64)
        bias[:own] = -stage.thresholds
        bias[own + handed_on :] = shift if i == 0 else 0.0
        layers += [given_linear(into, bias), nn.ReLU()]
        before, sums = stage, outputs
    return [*layers, given_linear(_summed(before, outputs, sums, handed_on=0), -shift)]


def _summed(stage: Ramps, outputs: int, sums: int, *, handed_on: int) -> Tensor:
    """Return the rows that add a stage's ramps to the sums so far."""
    nothing = torch.zeros(outputs, handed_on, dtype=torch.float64)
    so_far = torch.eye(outputs, sums, dtype=torch.float64)
    return torch.cat([stage.weights.T, nothing, so_far], dim=1)
