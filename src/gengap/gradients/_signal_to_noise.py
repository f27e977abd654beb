"""The signal-to-noise ratio of the gradient, for every parameter by itself."""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from gengap.risk import Risk

from ._blocks import per_example_gradients
from ._engine import run
from ._measure_coherence import check_evaluation_mode
from ._one_part import OnePart
from ._part import Part
from ._plan import Plan
from ._probe import trained

_CLEAR = 100  # up to this ratio the difference of two sums loses two digits at most


def gsnr(risk: Risk, *, unbiased: bool = False) -> dict[str, Tensor]:
    r"""Return the gradient signal-to-noise ratio of every parameter.

    $r_j = \frac{(\mathbb{E} g_j)^2}{\mathrm{Var}(g_j)}$, without units, in [0, inf]: how far the
    examples agree on a single weight. Coherence is its average, $\alpha = \sum_j f_j
    \frac{r_j}{1 + r_j}$ with $f_j = \mathbb{E} g_j^2 / \mathbb{E} \|g\|^2$: exactly so on the
    sample, with its own moments.

    Cost: one forward and backward pass in which every linear layer's weight gradient is taken
    twice, of the factors and of their squares; where an example uses weights at many positions,
    its gradient is written down. A parameter with a ratio above 100 anywhere, whose variance a
    difference of sums would not show, costs a second pass and n materialized gradients,
    `risk.chunk` examples at a time.

    Args:
        risk: Model, loss and examples.
        unbiased: Take unbiased estimates of numerator and denominator: (1 + r) / n less, below 0
            by chance. False takes the sample's own moments.

    Returns:
        Name to float64 tensor, shaped as the parameter. Infinite where all examples have the same
        gradient, NaN where that is zero, as for the weights of a unit that is never active, and
        everywhere for unbiased estimates from one example.

    Raises:
        ValueError: A layer is in training mode.

    Source:
        Liu et al. (2020), arXiv:2001.07384.
    """
    check_evaluation_mode(risk.model)
    params = trained(risk.model)
    found, _ = run(risk, lambda plan: _Moments(params, plan), params)
    mean = {name: total / risk.n for name, total in found.sums.items()}
    variance = {name: total / risk.n - mean[name].square() for name, total in found.squares.items()}
    clear = {name for name in params if bool(_is_clear(mean[name], variance[name]))}
    if clear != set(params):
        rest_mean, rest_variance = _streamed(risk, without=clear)
        mean |= rest_mean
        variance |= rest_variance
    if not unbiased:
        return {name: value.square() / variance[name] for name, value in mean.items()}
    variance = {name: value * risk.n / (risk.n - 1) for name, value in variance.items()}
    return {
        name: (value.square() - variance[name] / risk.n) / variance[name]
        for name, value in mean.items()
    }


def _is_clear(mean: Tensor, variance: Tensor) -> Tensor:
    """Return whether no entry's variance is lost beside its mean; zeros are exact."""
    return (_CLEAR * variance >= mean.square()).all()


def _streamed(risk: Risk, without: set[str]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return means and variances from gradients written down, merged chunk by chunk."""
    names = [name for name in risk.params if name not in without]
    mean = {k: torch.zeros_like(risk.params[k], dtype=torch.float64) for k in names}
    squares = {name: torch.zeros_like(value) for name, value in mean.items()}
    for start in range(0, risk.n, risk.chunk):
        part = risk[start : start + risk.chunk]
        new = part.n / (start + part.n)
        for name, gradients in per_example_gradients(part, without=without):
            g = gradients.double()
            own = g[0] + (g - g[0]).mean(0)  # exact where all are equal
            gap = own - mean[name]
            squares[name] += (g - own).square().sum(0) + gap.square() * (start * new)
            mean[name] += gap * new
    return mean, {name: value / risk.n for name, value in squares.items()}


@final
class _Moments(OnePart):
    """Adds up gradients and their squares, entry by entry.

    Attributes:
        sums: Name to the sum over the examples, float64.
        squares: Name to the sum of the squares, float64.
    """

    def __init__(self, params: Mapping[str, Tensor], plan: Plan) -> None:
        super().__init__(plan)
        self.sums = {
            name: torch.zeros_like(p, dtype=torch.float64, requires_grad=False)
            for name, p in params.items()
        }
        self.squares = {name: torch.zeros_like(total) for name, total in self.sums.items()}

    def take(self, name: str, part: Part) -> None:
        if part.dtype not in (torch.float32, torch.float64):
            part = part.wide(slice(None))
        self.sums[name] += part.sum()
        self.squares[name] += part.sum_of_squares()
