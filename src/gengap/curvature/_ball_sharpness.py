"""The sharpness of Dinh et al.: the largest rise of the loss in a small ball."""

import torch

from gengap._checks import check_count, check_positive
from gengap._streams import streams
from gengap.risk import Risk

from ._ascent import ascend
from ._flat_risk import FlatRisk
from ._regions import Ball
from ._sharpness import Sharpness, largest_rise


def ball_sharpness(
    risk: Risk, *, epsilon: float = 1e-3, iterations: int = 100, starts: int = 3, seed: int = 0
) -> Sharpness:
    r"""Measure by how much the loss rises at most in a ball around the parameters.

    $$\max_{\|\theta' - \theta\|_2 \le \epsilon} \frac{L(\theta') - L(\theta)}{1 + L(\theta)}$$

    Units: 1 + L, from 0 up, a lower bound of the maximum. For small epsilon at a minimum it is
    $\epsilon^2 \lambda_{max} / (2 (1 + L))$. Projected gradient ascent in float64 with exact
    gradients, from random points of the sphere; on a quadratic that is the power method.

    Changes under rescaling of the weights, to any positive value up to that of the constant
    function 0. Cost: one to two `iterations` forward-and-backward passes a start, fewer where it
    converges.

    Args:
        risk: The risk; at least 0.
        epsilon: Radius, in units of the parameters.
        iterations: Most iterations from every start.
        starts: Random starts.
        seed: Of the starts.

    Source:
        Dinh et al. (2017), arXiv:1703.04933, definition 2, where it is stated up to a factor.
    """
    check_positive("epsilon", epsilon)
    check_count("iterations", iterations)
    check_count("starts", starts)
    flat, draw = FlatRisk.of(risk), streams(seed)
    flat.check_non_negative()
    ball = Ball(epsilon, torch.ones_like(flat.start))
    found = [
        ascend(
            lambda y: flat.value_and_gradient(flat.start + y),
            ball,
            ball.draw(draw("ball", "start", start)),
            steps=iterations,
        )
        for start in range(starts)
    ]
    return largest_rise(flat, found, factor=1 / (1 + flat.loss))
