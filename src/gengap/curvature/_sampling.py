"""Drawing until a standard error is reached."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ._curvature import Curvature
from ._estimate import Estimate

Draw = Callable[[int], Tensor]
"""Maps k to independent draws [parts, k]; a sum over the parts is unbiased for each of them."""


def sampled(
    operator: Curvature,
    draw: Draw,
    standard_error: float,
    most: int,
    exact: Callable[[Curvature], float],
) -> Estimate:
    """Draw until the relative standard error is reached, or `most` products are spent.

    Where the draws that are still needed would come to more than p, the exact value is taken.
    """
    before, p = operator.products, operator.shape[0]
    draws = draw(2)
    if len(draws) < 8:
        draws = torch.cat([draws, draw(min(6, most - 2))], 1)
    while True:
        value, error, degrees = summary(draws)
        reached = error <= standard_error * abs(value)
        error = 0.0 if error <= 1e-14 * abs(value) else error
        spent = draws.shape[1]
        if reached or spent >= most:
            break
        need = spent * (error / (standard_error * max(abs(value), 1e-300))) ** 2
        more = math.ceil(min(1.1 * need - spent, 4 * spent, most - spent))
        if spent + more >= p and most - spent >= p:
            value, error, degrees, reached = exact(operator), 0.0, math.inf, True
            break
        draws = torch.cat([draws, draw(max(1, more))], 1)
    return Estimate(
        value=value,
        standard_error=error,
        degrees=degrees,
        products=operator.products - before,
        converged=reached,
    )


def summary(draws: Tensor) -> tuple[float, float, float]:
    """Return the mean of draws [parts, k] summed over the parts, its error, and its degrees.

    The degrees of freedom are those of Welch and Satterthwaite, with unbiased fourth powers.
    """
    k = draws.shape[1]
    variances = draws.var(1) / k
    square = float(variances.sum())
    fourth = float(variances.square().sum()) * (k - 1) / (k + 1)
    degrees = max(k - 1.0, (k - 1) * square**2 / fourth - 2) if fourth else math.inf
    return float(draws.mean(1).sum()), math.sqrt(square), degrees


def highest(error: float, degrees: float) -> float:
    """Return what the standard error is below 9 times of 10, given its estimate."""
    from scipy.stats import chi2

    if not error or math.isinf(degrees):
        return error
    return error * math.sqrt(degrees / float(chi2.ppf(0.1, degrees)))
