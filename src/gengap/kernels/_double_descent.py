r"""Double descent of minimum-norm linear regression: its risk in closed form and by simulation.

$y = x^\top \beta + \epsilon$, $x \sim N(0, I)$ in d dimensions, $\|\beta\| = r$, noise of standard
deviation $\sigma$. The least squares solution of least norm is fitted to n examples by the first
p of the d coordinates; what the others carry, $r^2 (1 - \kappa)$, acts as further noise. The risk
is the mean squared error on new examples beyond the noise that nobody can predict:

$$R = \sigma^2_{\mathrm{eff}} \frac{p}{n - p - 1} + r^2 (1 - \kappa), \; p \le n - 2, \qquad
R = r^2 \kappa \Big(1 - \frac{n}{p}\Big) + \sigma^2_{\mathrm{eff}} \frac{n}{p - n - 1} +
r^2 (1 - \kappa), \; p \ge n + 2,$$

with $\sigma^2_{\mathrm{eff}} = \sigma^2 + r^2 (1 - \kappa)$, and infinite for n - 1 <= p <= n + 1.
"""

import math
from dataclasses import dataclass
from typing import final

import torch

from gengap._checks import check_count, check_non_negative, check_probability
from gengap._streams import streams


@final
@dataclass(frozen=True, kw_only=True)
class SimulatedRisk:
    """A risk by simulation.

    Attributes:
        value: Mean over repetitions; unbiased.
        standard_error: Of the value. Where the closed form is infinite, or its variance is, at
            |p - n| <= 3, it says nothing.
        repetitions: Independent training sets.
    """

    value: float
    standard_error: float
    repetitions: int

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return Student's interval around the value at a confidence in [0, 1]."""
        from scipy.stats import t

        check_probability("confidence", confidence)
        half = float(t.ppf((1 + confidence) / 2, self.repetitions - 1)) * self.standard_error
        return self.value - half, self.value + half


@final
@dataclass(frozen=True, kw_only=True)
class LinearDescent:
    r"""Minimum-norm regression on the first p coordinates of an isotropic Gaussian.

    Attributes:
        examples: n.
        noise: sigma, at least 0.
        signal: r, the length of the coefficients, at least 0.
        dimensions: d. None is the well-specified model: d = p, all of the signal in reach.
            Otherwise the share of the signal in the first p coordinates is kappa = p / d.

    Source:
        Belkin, Hsu and Xu (2020), Two models of double descent for weak features,
        arXiv:1903.07571, theorem 1; Hastie, Montanari, Rosset and Tibshirani (2022),
        arXiv:1903.08560, for the limit of many dimensions.
    """

    examples: int
    noise: float = 0.5
    signal: float = 1.0
    dimensions: int | None = None

    def __post_init__(self) -> None:
        check_count("examples", self.examples)
        check_non_negative("noise", self.noise)
        check_non_negative("signal", self.signal)
        if self.dimensions is not None:
            check_count("dimensions", self.dimensions)

    def risk(self, features: int) -> float:
        """Return the exact risk at p features, in squared units of the targets.

        Args:
            features: p, at least 0, and at most the dimensions.

        Raises:
            ValueError: There are not so many features.
        """
        n, p = self.examples, self._checked(features)
        seen = self.signal**2 * self._share(p)
        missed = self.signal**2 - seen
        if p == 0:
            return missed
        noise = self.noise**2 + missed
        if p <= n - 2:
            return missed + noise * p / (n - p - 1)
        bias = missed + seen * max(0.0, 1 - n / p)
        if noise == 0:
            return bias
        return bias + noise * n / (p - n - 1) if p >= n + 2 else math.inf

    def simulate(self, features: int, *, repetitions: int = 200, seed: int = 0) -> SimulatedRisk:
        """Return the risk by drawing training sets and solving for the least norm.

        The error on new examples is taken exactly, as the squared distance of coefficients.

        Args:
            features: p.
            repetitions: Training sets. At least 2.
            seed: Of the draws.

        Raises:
            ValueError: There are not so many features, or fewer than two repetitions.
        """
        n, p = self.examples, self._checked(features)
        check_count("repetitions", repetitions, least=2)
        d = self.dimensions or p
        beta = torch.full((d,), self.signal / math.sqrt(d) if d else 0.0, dtype=torch.float64)
        errors = []
        for repetition in range(repetitions):
            draws = streams(seed)("double descent", features, repetition)
            x = torch.randn(n, d, generator=draws, dtype=torch.float64)
            y = x @ beta
            y += self.noise * torch.randn(n, generator=draws, dtype=torch.float64)
            found = torch.zeros_like(beta)
            if p:
                found[:p] = torch.linalg.lstsq(x[:, :p], y[:, None], driver="gelsd").solution[:, 0]
            errors.append((found - beta).square().sum())
        all_errors = torch.stack(errors)
        return SimulatedRisk(
            value=float(all_errors.mean()),
            standard_error=float(all_errors.std() / math.sqrt(repetitions)),
            repetitions=repetitions,
        )

    def _share(self, p: int) -> float:
        return 1.0 if self.dimensions is None else p / self.dimensions

    def _checked(self, features: int) -> int:
        check_count("features", features, least=0)
        if self.dimensions is not None and features > self.dimensions:
            raise ValueError(
                f"`features` must be at most the {self.dimensions} dimensions; got {features}."
            )
        return features
