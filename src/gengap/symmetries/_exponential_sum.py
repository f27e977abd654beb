"""Sums of exponentials of the log-scales, and where they are least."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from torch import Tensor

from ._symmetries import Symmetries

Array = npt.NDArray[np.float64]
Derivatives = tuple[float, Tensor, Tensor | None]
_MOST_FOR_NEWTON = 2000
_REACH = 150.0


@final
@dataclass(frozen=True, kw_only=True)
class Term:
    """Weights of one parameter's elements, summed where their exponents are equal."""

    weights: Tensor
    plus: Tensor
    minus: Tensor


@final
@dataclass(frozen=True, kw_only=True)
class Least:
    """Where a sum of exponentials is least.

    Attributes:
        value: The sum there.
        log_scales: The place, [num_scales].
        converged: Whether the gradient of its logarithm vanished.
        gradient: Largest entry of that gradient.
        steps: Steps taken.
    """

    value: float
    log_scales: Tensor
    converged: bool
    gradient: float
    steps: int


@final
class ExponentialSum:
    r"""$F(t) = \sum_j w_j e^{s\, a_j \cdot t}$ over the elements j of all parameters.

    $a_j$ are an element's exponents and s a number: 2 for the squared length of the parameters,
    -2 for the trace of a matrix whose diagonal is w. With $w \ge 0$ the logarithm of F is convex.
    """

    def __init__(self, found: Symmetries, weights: Mapping[str, Tensor], power: float) -> None:
        self.found, self.power = found, power
        self.rest, self.terms = 0.0, []
        for name, weight in weights.items():
            weight = weight.detach().to("cpu", torch.float64)
            if name not in found.exponents:
                self.rest += float(weight.sum())
                continue
            pair = found.exponents[name]
            shape = torch.broadcast_shapes(pair.plus.shape, pair.minus.shape)
            reduced = weight.sum_to_size(shape)
            self.terms.append(Term(weights=reduced, plus=pair.plus, minus=pair.minus))

    def log_value(self, log_scales: Tensor) -> float:
        """Return the logarithm of F."""
        return float(torch.cat([part.reshape(-1) for part in self._logs(log_scales)]).logsumexp(0))

    def _logs(self, log_scales: Tensor) -> list[Tensor]:
        """Return the logarithms of all summands, those that never change first."""
        padded = torch.cat([log_scales.new_zeros(1), log_scales])
        logs = [torch.tensor([self.rest], dtype=torch.float64).log()]
        for term in self.terms:
            plus = padded[term.plus.abs()] * term.plus.sign()
            minus = padded[term.minus.abs()] * term.minus.sign()
            logs.append(term.weights.log() + self.power * (plus - minus))
        return logs

    def derivatives(self, log_scales: Tensor, *, second: bool = False) -> Derivatives:
        """Return the logarithm of F, its gradient, and its Hessian if asked for."""
        logs, size = self._logs(log_scales), self.found.num_scales + 1
        value = torch.cat([part.reshape(-1) for part in logs]).logsumexp(0)
        gradient = torch.zeros(size, dtype=torch.float64)
        curvature = torch.zeros(size, size, dtype=torch.float64) if second else None
        for term, log in zip(self.terms, logs[1:], strict=True):
            shares = (log - value).exp()
            for numbers, sign in ((term.plus, 1.0), (term.minus, -1.0)):
                part = shares.sum_to_size(numbers.shape)
                slopes = sign * self.power * numbers.sign() * part
                gradient.index_add_(0, numbers.abs().reshape(-1), slopes.reshape(-1))
                if curvature is not None:
                    own = self.power**2 * numbers.sign().abs() * part
                    curvature.diagonal().index_add_(0, numbers.abs().reshape(-1), own.reshape(-1))
            if curvature is not None:
                self._cross(curvature, term, shares)
        if curvature is not None:
            curvature = (curvature - torch.outer(gradient, gradient))[1:, 1:]
        return float(value), gradient[1:], curvature

    def _cross(self, curvature: Tensor, term: Term, shares: Tensor) -> None:
        place = term.plus.abs() * len(curvature) + term.minus.abs()
        mixed = -(self.power**2) * shares * term.plus.sign() * term.minus.sign()
        table = torch.zeros(curvature.numel(), dtype=torch.float64)
        table.index_add_(0, place.expand(shares.shape).reshape(-1), mixed.reshape(-1))
        curvature += table.view_as(curvature) + table.view_as(curvature).T

    def least(self, free: Tensor, *, tolerance: float = 1e-9, steps: int = 5000) -> Least:
        """Minimize over the log-scales in a mask, the others at zero."""
        index = free.nonzero().reshape(-1)
        point, done = self.found.log_scales(), 0
        small = len(index) <= _MOST_FOR_NEWTON

        def at(x: Array) -> tuple[float, Array]:
            value, gradient, _ = self.derivatives(_put(point, index, torch.from_numpy(x)))
            return value, gradient[index].numpy()

        if len(index):
            solved = minimize(
                at,
                np.zeros(len(index)),
                jac=True,
                method="L-BFGS-B",
                bounds=[(-_REACH, _REACH)] * len(index),
                options={
                    "maxiter": steps,
                    "maxfun": 2 * steps,
                    "ftol": 0.0,
                    "gtol": 1e-4 if small else tolerance,
                },
            )
            point, done = _put(point, index, torch.from_numpy(solved.x)), int(solved.nit)
            if small:
                point = self._newton(point, index, tolerance)
        value, gradient, _ = self.derivatives(point)
        size = float(gradient[index].abs().max()) if len(index) else 0.0
        return Least(
            value=math.exp(value),
            log_scales=point,
            converged=size <= max(tolerance, 1e-7),
            gradient=size,
            steps=done,
        )

    def _newton(self, point: Tensor, index: Tensor, tolerance: float) -> Tensor:
        """Finish with Newton's steps, shortened where the value would grow."""
        for _ in range(50):
            value, gradient, curvature = self.derivatives(point, second=True)
            assert curvature is not None
            slope, bent = gradient[index], curvature[index][:, index]
            if float(slope.abs().max()) <= tolerance:
                break
            damping = 1e-12 * bent.diagonal().max() * torch.eye(len(index), dtype=torch.float64)
            step, scale = torch.linalg.solve(bent + damping, slope), 1.0
            while scale > 1e-4:
                other = point.clone()
                other[index] -= scale * step
                if self.log_value(other) <= value:
                    break
                scale /= 2
            else:
                break
            point = other
        return point


def _put(point: Tensor, index: Tensor, values: Tensor) -> Tensor:
    return point.index_put((index,), values.to(torch.float64))
