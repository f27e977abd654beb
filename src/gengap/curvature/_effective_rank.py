"""How many directions a curvature has that count."""

import math
from dataclasses import replace
from typing import Literal

from gengap._checks import check_choice, check_positive
from gengap.risk import Risk

from ._curvature import Curvature, as_curvature
from ._estimate import Estimate
from ._frobenius_norm import frobenius_norm
from ._log_determinant import _positive
from ._spectral_sum import spectral_sum
from ._trace import trace


def effective_rank(
    target: Risk | Curvature,
    *,
    definition: Literal["participation", "parameters"] = "participation",
    shift: float | None = None,
    standard_error: float = 0.05,
    most: int = 2000,
    seed: int = 0,
) -> Estimate:
    r"""Estimate an effective rank, by one of two definitions that differ.

    "participation", the participation ratio $(\operatorname{tr} H)^2 / \|H\|_F^2$: between 1 and
    the rank where no eigenvalue is negative; invariant to a factor on H. "parameters",
    $\sum_j \lambda_j / (\lambda_j + s)$: the number of parameters that the data determine beside a
    prior of precision s, between 0 and the rank.

    Args:
        target: A risk, for its Hessian, or a curvature such as `gauss_newton`.
        definition: As above.
        shift: s of "parameters", in units of eigenvalue.
        standard_error: Asked for, as a share of the value.
        most: Products after which to stop in any case.
        seed: Of the random vectors.

    Returns:
        The estimate, a number of directions; the ratio's bias is of the order of its squared error.

    Raises:
        ValueError: "parameters" without a shift, or H + s I seen not to be positive definite.

    Source:
        MacKay (1992) for "parameters".
    """
    check_choice("definition", definition, ("participation", "parameters"))
    operator = as_curvature(target)
    if definition == "parameters":
        if shift is None:
            raise ValueError("`shift` must be given for definition='parameters'; got None.")
        check_positive("shift", precision := shift)
        return spectral_sum(
            operator,
            lambda values: _positive(values, precision) / (values + precision),
            standard_error=standard_error,
            most=most,
            steps=60,
            seed=seed,
        )
    part = standard_error / (2 * math.sqrt(2))
    top = trace(operator, standard_error=part, most=most // 2, seed=seed)
    return participation(
        top, frobenius_norm(operator, standard_error=part, most=most // 2, seed=seed)
    )


def participation(top: Estimate, norm: Estimate) -> Estimate:
    r"""Return the participation ratio $(\operatorname{tr} H)^2 / \|H\|_F^2$.

    Args:
        top: Estimate of the trace.
        norm: Estimate of the Frobenius norm, by draws of its own.

    Returns:
        The estimate, a number of directions; its bias is of the order of its squared error.
    """
    value = (top.value / norm.value) ** 2 if norm.value else 0.0
    share = [e.standard_error / abs(e.value) if e.value else 0.0 for e in (top, norm)]
    return replace(
        top,
        value=value,
        standard_error=2 * value * math.hypot(*share),
        degrees=min(top.degrees, norm.degrees),
        products=top.products + norm.products,
        converged=top.converged and norm.converged,
    )
