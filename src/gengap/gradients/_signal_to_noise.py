"""The signal-to-noise ratio of the gradient, for every parameter by itself."""

import torch
from torch import Tensor

from gengap.risk import Risk

from ._blocks import per_example_gradients
from ._measure_coherence import check_evaluation_mode


def gsnr(risk: Risk, *, unbiased: bool = False) -> dict[str, Tensor]:
    r"""Return the gradient signal-to-noise ratio of every parameter.

    $r_j = \frac{(\mathbb{E} g_j)^2}{\mathrm{Var}(g_j)}$, without units, in [0, inf]: how far the
    examples agree on a single weight. Coherence is its average, $\alpha = \sum_j f_j
    \frac{r_j}{1 + r_j}$ with $f_j = \mathbb{E} g_j^2 / \mathbb{E} \|g\|^2$: exactly so on the
    sample, with its own moments.

    Cost: n materialized gradients, `risk.chunk` examples at a time, a parameter tensor after
    the other; variances are merged in float64.

    Args:
        risk: Model, loss and examples.
        unbiased: Take unbiased estimates of numerator and denominator: (1 + r) / n less, below 0
            by chance. False takes the sample's own moments.

    Returns:
        Name to float64 tensor, shaped as the parameter. Infinite where all examples have the same
        gradient, NaN where that is zero, as for the weights of a unit that is never active.

    Source:
        Liu et al. (2020), arXiv:2001.07384.
    """
    check_evaluation_mode(risk.model)
    mean = {k: torch.zeros_like(v, dtype=torch.float64) for k, v in risk.params.items()}
    squares = {name: torch.zeros_like(value) for name, value in mean.items()}
    for start in range(0, risk.n, risk.chunk):
        part = risk[start : start + risk.chunk]
        new = part.n / (start + part.n)
        for name, gradients in per_example_gradients(part):
            g = gradients.double()
            own = g.mean(0)
            gap = own - mean[name]
            squares[name] += (g - own).square().sum(0) + gap.square() * (start * new)
            mean[name] += gap * new
    if not unbiased:
        return {name: value.square() / (squares[name] / risk.n) for name, value in mean.items()}
    variance = {name: value / (risk.n - 1) for name, value in squares.items()}
    return {
        name: (value.square() - variance[name] / risk.n) / variance[name]
        for name, value in mean.items()
    }
