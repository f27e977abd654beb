"""Sums of a function over all eigenvalues: log-determinants, numbers of parameters in use."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gengap._checks import check_count, check_positive
from gengap._streams import streams

from ._curvature import Curvature
from ._eigenpairs import Eigenpairs, top_eigenpairs
from ._estimate import Estimate
from ._probes import signs
from ._quadrature import quadrature
from ._sampling import summary

Function = Callable[[Tensor], Tensor]
"""Maps eigenvalues to numbers, zero to zero; raises ValueError where it is not defined."""

_PAIRS, _LEAST = 10, 6


def spectral_sum(
    operator: Curvature,
    function: Function,
    *,
    standard_error: float,
    offset: float = 0.0,
    most: int,
    steps: int,
    seed: int,
) -> Estimate:
    """Return offset + the sum of f over the eigenvalues, exactly where p products are enough.

    Otherwise the top eigenpairs are taken out and summed, and the rest is seen by quadrature from
    random signs without them, until the share of the error is reached.
    """
    check_positive("standard_error", standard_error)
    check_count("most", most)
    check_count("steps", steps)
    before, p = operator.products, operator.shape[0]
    if p <= most:
        value = offset + float(function(torch.linalg.eigvalsh(operator.dense())).sum())
        products = operator.products - before
        return Estimate(
            value=value, standard_error=0.0, degrees=math.inf, products=products, converged=True
        )
    pairs = top_eigenpairs(operator, _PAIRS, tolerance=1e-3, steps=max(20, most // 4), seed=seed)
    known = offset + float(function(pairs.values[pairs.converged]).sum())
    draws: list[float] = []
    generator = streams(seed)("spectral sum")
    value, error, degrees, reached = known, math.inf, 1.0, False
    while not reached and operator.products - before + steps <= most:
        draws.append(_rest(operator, function, pairs, steps, standard_error, generator))
        if len(draws) < _LEAST:
            continue
        value, error, degrees = summary(torch.tensor([draws], dtype=torch.float64))
        value += known
        reached = error <= standard_error * abs(value)
    if error == math.inf:
        raise ValueError(
            f"`most` must allow {_LEAST} random vectors of {steps} products each beside the "
            f"{_PAIRS} eigenpairs taken out; got {most}."
        )
    return Estimate(
        value=value,
        standard_error=error,
        degrees=degrees,
        products=operator.products - before,
        converged=reached,
    )


def _rest(
    operator: Curvature,
    function: Function,
    pairs: Eigenpairs,
    steps: int,
    standard_error: float,
    generator: torch.Generator,
) -> float:
    """Return u' f(H) u of random signs u made orthogonal to the pairs that have converged."""
    vectors = pairs.vectors[:, pairs.converged]
    u = signs(1, vectors.T, generator)[0]
    for _ in range(2):
        u -= vectors @ (vectors.T @ u)
    last = [math.inf]

    def settled(nodes: Tensor, weights: Tensor) -> bool:
        value = float((weights * function(nodes)).sum())
        change, last[0] = abs(value - last[0]), value
        return change <= 0.1 * standard_error * abs(value)

    found = quadrature(operator, u, steps, settled=settled)
    return float(u.double().square().sum() * (found.weights * function(found.nodes)).sum())
