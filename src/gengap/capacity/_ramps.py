"""A sum of ramps of one number, evaluated by prefix sums, and the sum through given points."""

import math
from typing import final

import torch
from torch import Tensor, nn

_CHUNK = 1 << 22  # entries of the dense matrix at a time


@final
class Ramps(nn.Module):
    """A piecewise-linear function of one number, as a layer of ReLUs and the weights after it.

    f(t) = sum_j w_j max(t - b_j, 0)

    With the thresholds sorted, f(t) = f(b_k) + (w_1 + ... + w_k) (t - b_k) for the last b_k below
    t: two prefix sums and a search, instead of a product with a dense n x n matrix. Autograd goes
    through it; the derivative at a threshold is 0 from that ramp, as of torch.relu.

    Cost: O(n log n) for n values and n ramps.
    """

    def __init__(self, thresholds: Tensor, weights: Tensor) -> None:
        """Make it of thresholds of shape [n] and weights of shape [n, outputs]."""
        super().__init__()
        self.thresholds = nn.Parameter(thresholds)
        self.weights = nn.Parameter(weights)

    def forward(self, t: Tensor) -> Tensor:
        """Return the sum at each number: shape [n] to [n, outputs]."""
        b, values, slopes = self.pieces()
        below = torch.searchsorted(b.detach(), t.detach().contiguous())
        at = (below - 1).clamp(min=0)
        after = values[at] + slopes[at] * (t - b[at])[:, None]
        return torch.where((below > 0)[:, None], after, torch.zeros_like(after))

    def pieces(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the sorted thresholds, and the value at and the slope after each of them."""
        order = torch.argsort(self.thresholds.detach())
        b, w = self.thresholds[order].double(), self.weights[order].double()
        slopes = _prefix_sums(w)
        rises = (slopes[:-1] * b.diff()[:, None]).cumsum(0)
        return b, torch.cat([torch.zeros_like(slopes[:1]), rises]), slopes

    def plain(self, t: Tensor) -> Tensor:
        """Return the same as the product of a dense matrix of ReLUs with the weights."""
        rows = max(1, _CHUNK // len(self.thresholds))
        return torch.cat([
            torch.relu(some[:, None] - self.thresholds) @ self.weights for some in t.split(rows)
        ])


def ramps_through(t: Tensor, y: Tensor, *, start: Tensor, level: bool = False) -> Ramps:
    """Return ramps that are 0 up to `start` and go through the points (t_i, y_i).

    The matrix A_ij = max(t_i - b_j, 0) is lower triangular for b_1 < t_1 <= b_2 < t_2 ...; every
    choice of thresholds between neighbours fits. With b_j = t_{j-1} + s (t_j - t_{j-1}) the slopes
    of the solution obey slope_j = (dy_j / dt_j - s slope_{j-1}) / (1 - s): at s = 1/2, midway,
    errors of all earlier slopes are carried on undamped; at s = 0 none is. So b_j = t_{j-1}: f is
    then linear interpolation, which has the smallest largest slope of all functions through the
    points, and w, the second differences, solve A w = y in O(n).

    Each slope aims at y_j from the value that the rounded weights so far have reached, so rounding
    does not add up: the error at t_j is about the rounding of the larger slope beside it times
    t_j - t_{j-1}.

    Args:
        t: Ascending, float64, shape [n]; equal ones must have equal targets.
        y: Targets, float64, shape [n, outputs].
        start: Where the first ramp begins, below all t.
        level: Whether to add a ramp that makes f constant after the last point.
    """
    thresholds = torch.cat([start.reshape(1), t[:-1]])
    gaps = t - thresholds
    weights = torch.stack([_weights(gaps, column) for column in y.unbind(1)], dim=1)
    if level:
        thresholds = torch.cat([thresholds, t[-1:]])
        weights = torch.cat([weights, -_prefix_sums(weights)[-1:]])
    return Ramps(thresholds, weights)


def _prefix_sums(weights: Tensor) -> Tensor:
    """Return w_1 + ... + w_k for every k, though large ones cancel, and the same in any order.

    The leading digits of all, multiples of one power of two, have exact sums; what remains of each
    weight is so small that the rounding of its sums is far below that of the result.
    """
    fixed = weights.detach()
    exponent = torch.frexp(fixed.cumsum(0).abs().amax(0))[1]
    quantum = torch.ldexp(torch.ones_like(fixed[0]), exponent - 49)
    leading = torch.round(fixed / quantum) * quantum
    return leading.cumsum(0) + (weights - leading).cumsum(0)


def _weights(gaps: Tensor, targets: Tensor) -> Tensor:
    """Return the weights of one output, whose prefix sums reach each target in turn."""
    steps = targets.diff(prepend=torch.zeros_like(targets[:1])) / gaps
    largest = float(torch.where(gaps > 0, steps, 0.0).abs().max())
    if not largest < 2.0**960:
        return torch.full_like(targets, math.inf)
    # adding and taking away 1.5 * 2^52 quanta leaves the leading digits, as in _prefix_sums
    anchor = math.ldexp(1.5, math.frexp(largest)[1] + 3)
    found, value, slope, leading, rest = [], 0.0, 0.0, 0.0, 0.0
    for gap, target in zip(gaps.tolist(), targets.tolist(), strict=True):
        weight = (target - value) / gap - slope if gap > 0 else 0.0
        part = weight + anchor - anchor
        leading += part
        rest += weight - part
        slope = leading + rest
        value += slope * gap
        found.append(weight)
    return torch.tensor(found, dtype=torch.float64)
