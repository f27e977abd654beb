"""The bound on the generalization gap that coherence along a trajectory gives."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gengap._checks import check_count, check_non_negative, check_positive

_ROUNDING = 1e-4
"""By which an alpha of float32 sums may pass 1."""


@final
@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class StabilityBound:
    """A bound on the expected gap between the risk on fresh examples and that on the sample.

    Attributes:
        terms: What each step adds, in units of the loss, float64 [t].
    """

    terms: Tensor

    @property
    def value(self) -> float:
        """The bound, in units of the loss; infinite where it is beyond floating point."""
        return float(self.terms.sum())

    def __float__(self) -> float:
        return self.value

    def __repr__(self) -> str:
        return f"StabilityBound({self.value:.4g}, steps={len(self.terms)})"


def stability_bound(
    alphas: Sequence[float] | Tensor,
    learning_rates: Sequence[float] | Tensor,
    *,
    lipschitz: float,
    smoothness: float,
    n: int,
) -> StabilityBound:
    r"""Bound the expected generalization gap of SGD without momentum by the coherence on its way.

    $|\text{gap}| \le \frac{L^2}{n} \sum_{t=1}^T \Big[\prod_{k=t+1}^T (1 + \eta_k \beta)\Big] \eta_t
    \sqrt{2 (1 - \alpha(w_{t-1}))}$

    For a loss with gradients of norm at most L that change by at most beta a unit of distance;
    the batch size cancels, and full batches have the same bound. Early steps are multiplied most,
    so that low coherence early costs most. Numerically it says nothing about real networks,
    where it is far above the largest gap there can be: compare, do not quote.

    Args:
        alphas: Coherence *before* each of the T steps, of the population: take `unbiased_alpha` of
            examples that are not trained on, at most 1; below 0 counts as 0. Where it was measured
            only now and then, `alphas_at_every_step` fills in.
        learning_rates: Step sizes, [T].
        lipschitz: L, the largest norm of an example's gradient.
        smoothness: beta, the largest curvature of an example's loss.
        n: Examples trained on, m in the paper.

    Returns:
        The bound and what each step adds to it.

    Raises:
        ValueError: A number is out of its range, an alpha is not finite, or there is not one
            learning rate a step.

    Examples:
        >>> bound = stability_bound([0.5, 1.0], [0.1, 0.1], lipschitz=1, smoothness=10, n=2)
        >>> round(bound.value, 12)
        0.1

    Source:
        Chatterjee and Zielinski (2022), arXiv:2203.10036, the stability theorem.
    """
    spread = _spread(alphas, lipschitz=lipschitz, smoothness=smoothness, n=n)
    rates = torch.as_tensor(learning_rates, dtype=torch.float64)
    if rates.shape != spread.shape or not bool((rates >= 0).all()):
        raise ValueError(
            f"`learning_rates` must hold a number of at least 0 for each of the {len(spread)} "
            f"steps of `alphas`; got {learning_rates!r}."
        )
    growth = torch.log1p(rates * smoothness)
    after = growth.flip(0).cumsum(0).flip(0) - growth
    return StabilityBound(terms=_grown(lipschitz**2 / n * rates * spread, after))


def stability_bound_fixed_step(
    alphas: Sequence[float] | Tensor,
    learning_rate: float,
    *,
    lipschitz: float,
    smoothness: float,
    n: int,
) -> StabilityBound:
    r"""Bound the gap for one step size: the first corollary, somewhat looser.

    $|\text{gap}| \le \frac{L^2 \eta}{n} \sum_{t=1}^T e^{(T - t) \eta \beta}
    \sqrt{2 (1 - \alpha(w_{t-1}))}$

    Args:
        alphas: As of `stability_bound`.
        learning_rate: The step size, at least 0.
        lipschitz: As of `stability_bound`.
        smoothness: As of `stability_bound`.
        n: As of `stability_bound`.

    Raises:
        ValueError: A number is out of its range, or an alpha is not finite.

    Source:
        Chatterjee and Zielinski (2022), arXiv:2203.10036.
    """
    check_non_negative("learning_rate", learning_rate)
    spread = _spread(alphas, lipschitz=lipschitz, smoothness=smoothness, n=n)
    left = torch.arange(len(spread) - 1, -1, -1, dtype=torch.float64)
    own = lipschitz**2 * learning_rate / n * spread
    return StabilityBound(terms=_grown(own, left * learning_rate * smoothness))


def stability_bound_decaying_step(
    alphas: Sequence[float] | Tensor,
    learning_rate: float,
    *,
    lipschitz: float,
    smoothness: float,
    n: int,
) -> StabilityBound:
    r"""Bound the gap for steps of at most $\eta / t$: the second corollary, looser still.

    $|\text{gap}| \le \frac{L^2 \eta T^{\eta \beta}}{n} \sum_{t=1}^T \sqrt{2 (1 - \alpha(w_{t-1}))}$

    Args:
        alphas: As of `stability_bound`.
        learning_rate: eta, of which step t takes at most the t-th part; at least 0.
        lipschitz: As of `stability_bound`.
        smoothness: As of `stability_bound`.
        n: As of `stability_bound`.

    Raises:
        ValueError: A number is out of its range, or an alpha is not finite.

    Source:
        Chatterjee and Zielinski (2022), arXiv:2203.10036.
    """
    check_non_negative("learning_rate", learning_rate)
    spread = _spread(alphas, lipschitz=lipschitz, smoothness=smoothness, n=n)
    own = lipschitz**2 * learning_rate / n * spread
    growth = learning_rate * smoothness * math.log(len(spread))
    return StabilityBound(terms=_grown(own, torch.full_like(own, growth)))


def alphas_at_every_step(
    steps: Sequence[int], alphas: Sequence[float], *, num_steps: int
) -> Tensor:
    """Return a coherence for every step from measurements made now and then.

    Args:
        steps: Steps already made when each was measured, rising; the first is 0.
        alphas: What was measured.
        num_steps: Steps made in all, T.

    Returns:
        float64 [T]: before each step, what was last measured.

    Raises:
        ValueError: The steps do not rise from 0, or are not as many as the alphas.
    """
    moments, values = torch.tensor(steps), torch.as_tensor(alphas, dtype=torch.float64)
    rising = len(moments) > 0 and int(moments[0]) == 0 and bool((moments.diff() > 0).all())
    if not rising or len(moments) != len(values):
        raise ValueError(
            f"`steps` must rise from 0, one for each of the {len(values)} alphas; got {steps!r}."
        )
    check_count("num_steps", num_steps)
    return values[torch.searchsorted(moments, torch.arange(num_steps), right=True) - 1]


def _grown(own: Tensor, growth: Tensor) -> Tensor:
    """Return own times e to the growth: nothing stays nothing, however far the growth goes."""
    return torch.where(own == 0, own, (own.log() + growth).exp())


def _spread(
    alphas: Sequence[float] | Tensor, *, lipschitz: float, smoothness: float, n: int
) -> Tensor:
    r"""Return $\sqrt{2 (1 - \alpha)}$ of every step, [T]."""
    check_positive("lipschitz", lipschitz)
    check_non_negative("smoothness", smoothness)
    check_count("n", n)
    values = torch.as_tensor(alphas, dtype=torch.float64)
    if values.ndim != 1 or len(values) == 0 or not bool(values.isfinite().all()):
        raise ValueError(
            f"`alphas` must hold a finite number for every step, shape [T]; got {alphas!r}."
        )
    if float(values.max()) > 1 + _ROUNDING:
        raise ValueError(
            f"`alphas` must be at most 1; got {float(values.max()):g}. Where that is an "
            "m-coherence, take `unbiased_alpha` of the same result."
        )
    return (2 * (1 - values.clamp(0, 1))).sqrt()
