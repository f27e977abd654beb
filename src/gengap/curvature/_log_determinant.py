"""The log-determinant of a curvature plus a multiple of the identity."""

import math

import torch
from torch import Tensor

from gengap._checks import check_positive
from gengap.risk import Risk

from ._curvature import Curvature, as_curvature
from ._estimate import Estimate
from ._spectral_sum import spectral_sum


def log_determinant(
    target: Risk | Curvature,
    *,
    shift: float,
    standard_error: float = 0.01,
    most: int = 2000,
    steps: int = 60,
    seed: int = 0,
) -> Estimate:
    r"""Estimate $\log\det(H + s I) = p \log s + \sum_j \log(1 + \lambda_j / s)$.

    Exact, by p products, where p is at most `most`. Otherwise the top eigenvalues are summed and
    the rest is stochastic Lanczos quadrature; only the second term has an error. Not invariant to
    a change of coordinates; the evidence, to which it belongs, is.

    Args:
        target: A risk, for its Hessian, or a curvature such as `gauss_newton`.
        shift: s, above minus the smallest eigenvalue; in units of eigenvalue.
        standard_error: Asked for, as a share of the whole value.
        most: Products after which to stop in any case.
        steps: Products for a random vector, at most; fewer where its sum has settled.
        seed: Of the random vectors.

    Returns:
        The estimate, in nats; check `converged`.

    Raises:
        ValueError: H + s I is seen not to be positive definite.

    Source:
        Ubaru, Chen and Saad (2017), stochastic Lanczos quadrature; the eigenpairs taken out first
        are ours.
    """
    check_positive("shift", shift)
    operator = as_curvature(target)
    return spectral_sum(
        operator,
        lambda values: torch.log1p(_positive(values, shift) / shift),
        standard_error=standard_error,
        offset=operator.shape[0] * math.log(shift),
        most=most,
        steps=steps,
        seed=seed,
    )


def _positive(values: Tensor, shift: float) -> Tensor:
    least = float(values.min())
    if least <= -shift:
        raise ValueError(
            f"`shift` must make the matrix positive definite, but it has an eigenvalue of at most "
            f"{least:.3g}; got {shift!r}. Take a larger shift, or gauss_newton(risk)."
        )
    return values
