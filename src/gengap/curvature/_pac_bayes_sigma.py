"""PAC-Bayes sigma: how much Gaussian noise in the parameters a network bears."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from gengap._checks import check_choice, check_count, check_non_negative, check_positive
from gengap._functional import functional_call
from gengap._right import is_right
from gengap._streams import streams
from gengap.risk import Risk

from ._flat_risk import FlatRisk

_KEPT = 1 << 25
_DOUBLINGS = 40
_NEAR = 1.25


@final
@dataclass(frozen=True, kw_only=True)
class PacBayesSigma:
    r"""The largest noise with a given mean harm.

    Attributes:
        value: Standard deviation $\sigma$ of the noise; in units of the parameters, or
            magnitude-aware, of a share of each.
        standard_error: Of the value, from the spread of the harm over the draws and its slope.
        harm: Mean harm found there.
        sharpness: $1 / \sigma^2$, as it enters a bound.
        draws: Draws of the noise.
        passes: Cost in forward-and-backward passes.
    """

    value: float
    standard_error: float
    harm: float
    draws: int
    passes: float

    @property
    def sharpness(self) -> float:
        return self.value**-2

    def __float__(self) -> float:
        return self.value


def pac_bayes_sigma(
    risk: Risk,
    *,
    harm: float = 0.1,
    of: Literal["accuracy", "loss"] = "accuracy",
    magnitude_aware: bool = False,
    epsilon: float = 0.0,
    draws: int = 16,
    tolerance: float = 1e-3,
    seed: int = 0,
) -> PacBayesSigma:
    r"""Find the largest Gaussian noise that does no more than a given harm on average.

    The $\sigma$ with $\mathbb{E}_{\varepsilon \sim N(0, S)} h(\theta + \varepsilon)$ = `harm`,
    where h is the drop of the accuracy, or the rise of the loss, on the split, and
    $S = \sigma^2 I$, or magnitude-aware, $S = \mathrm{diag}(\sigma^2 \theta^2 + \epsilon^2)$: noise
    of *standard deviation* $\sigma$.

    The same draws serve every $\sigma$, so that the bisection is on one smooth curve; the estimate
    has a bias of order 1 / draws. Larger is flatter; from 0 up. Magnitude-aware with epsilon = 0
    it does not change under rescaling of weights and biases that keeps the function; otherwise it
    does. Cost: about 20 `draws` forward passes.

    Args:
        risk: The risk; computed in its own dtype.
        harm: The drop of the accuracy, in (0, 1), or the rise of the loss, in its units.
        of: What is harmed.
        magnitude_aware: Noise in proportion to every parameter.
        epsilon: Noise that every parameter gets besides, if magnitude-aware.
        draws: Draws of the noise; at least 2.
        tolerance: Relative width at which the bisection ends.
        seed: Of the draws.

    Raises:
        ValueError: No noise does so much harm.

    Source:
        Jiang et al. (2020), arXiv:1912.02178, appendix C; harm 0.1 and epsilon 1e-3 there. A
        public implementation draws the noise with the variance in the place of the standard
        deviation.
    """
    check_positive("harm", harm)
    check_positive("tolerance", tolerance)
    check_non_negative("epsilon", epsilon)
    check_count("draws", draws, least=2)
    check_choice("of", of, ("accuracy", "loss"))
    if of == "accuracy" and (harm >= 1 or risk.split.num_classes is None):
        raise ValueError(f"`harm` of an accuracy must lie in (0, 1), on classes; got {harm!r}.")
    FlatRisk.of(risk)  # raises where weights or data are not finite
    curve = _Curve(risk, of, magnitude_aware, epsilon, draws, seed)
    low, high = _bracket(curve, harm)
    while high > low * (1 + tolerance):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if curve.mean(middle) < harm else (low, middle)
    value = math.sqrt(low * high)
    harms = curve(value)
    slope = (curve.mean(value * _NEAR) - curve.mean(value / _NEAR)) / (value * (_NEAR - 1 / _NEAR))
    error = float(harms.std()) / draws**0.5
    return PacBayesSigma(
        value=value,
        standard_error=error / slope if slope > 0 else math.inf,
        harm=float(harms.mean()),
        draws=draws,
        passes=curve.forwards / 3,
    )


class _Curve:
    """The harm of every draw as a function of the size of the noise."""

    def __init__(
        self, risk: Risk, of: str, magnitude_aware: bool, epsilon: float, draws: int, seed: int
    ) -> None:
        self.risk, self.draws, self.forwards = risk, draws, 0
        self.score: Callable[[Risk, dict[str, Tensor]], float]
        self.score = _accuracy if of == "accuracy" else lambda risk, params: -risk(params)
        self.magnitude_aware, self.epsilon, self.seed = magnitude_aware, epsilon, seed
        self.point = risk.params
        self.p = sum(value.numel() for value in self.point.values())
        self.known: dict[int, Tensor] = {}
        self.base = self.score(risk, self.point)

    def noise(self, draw: int) -> Tensor:
        if draw in self.known:
            return self.known[draw]
        generator = streams(self.seed)("pac-bayes", draw)
        noise = torch.randn(self.p, generator=generator)
        if self.p * self.draws <= _KEPT:
            self.known[draw] = noise
        return noise

    def moved(self, sigma: float, draw: int) -> dict[str, Tensor]:
        parts = self.noise(draw).split([value.numel() for value in self.point.values()])
        found = {}
        for (name, value), part in zip(self.point.items(), parts, strict=True):
            noise = part.view(value.shape).to(value)
            if self.magnitude_aware:
                found[name] = value + noise * (sigma**2 * value**2 + self.epsilon**2).sqrt()
            else:
                found[name] = value + noise * sigma
        return found

    def __call__(self, sigma: float) -> Tensor:
        """Return the harm of every draw, float64 [draws]; no number counts as infinite harm."""
        self.forwards += self.draws
        scores = [self.score(self.risk, self.moved(sigma, draw)) for draw in range(self.draws)]
        harms = self.base - torch.tensor(scores, dtype=torch.float64)
        return harms.nan_to_num(nan=math.inf, posinf=math.inf)

    def mean(self, sigma: float) -> float:
        return float(self(sigma).mean())


def _bracket(curve: _Curve, harm: float) -> tuple[float, float]:
    """Return a size of noise that does less harm and, at most twice as large, one that does not."""
    sigma = 0.1
    if not curve.magnitude_aware:
        squares = sum(float(value.double().square().sum()) for value in curve.point.values())
        sigma = 0.1 * max(squares / curve.p, 1e-12) ** 0.5
    if curve.mean(sigma) < harm:
        for _ in range(_DOUBLINGS):
            if curve.mean(2 * sigma) >= harm:
                return sigma, 2 * sigma
            sigma *= 2
    else:
        for _ in range(_DOUBLINGS):
            sigma /= 2
            if curve.mean(sigma) < harm:
                return sigma, 2 * sigma
    raise ValueError(
        f"`harm` must be one that noise can do; up to noise of {sigma:.3g} the mean harm is not "
        f"{harm!r}. Ask for another harm; a model near chance, or constant, bears any noise."
    )


def _accuracy(risk: Risk, params: dict[str, Tensor]) -> float:
    """Return the share of labels that the largest output gives."""
    correct = total = 0
    with torch.no_grad():
        for x, y in risk.batches():
            outputs = functional_call(risk.model, params, (x,))
            correct += int(is_right(outputs, y).sum())
            total += y.numel()
    return correct / total
