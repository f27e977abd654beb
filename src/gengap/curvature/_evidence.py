"""The evidence of a model: how probable the labels are, averaged over the prior."""

import math
import warnings
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from gengap._checks import check_choice
from gengap.risk import Risk

from ._curvature import Curvature
from ._flat_risk import FlatRisk
from ._log_determinant import log_determinant
from ._points import Point
from ._posterior_mode import MOST_DENSE, at_point
from ._prior import Precision, Prior

NEAR = 0.1
"""How far from the minimum, in nats, a point may be without a warning."""


@final
@dataclass(frozen=True, kw_only=True)
class Evidence:
    r"""Laplace's estimate of the log evidence at a minimum of $C = n R + \frac12 w^T \Lambda w$.

    Attributes:
        value: Log evidence, in nats: `log_occam_factor` $- C$.
        standard_error: Of the value; 0 with dense matrices.
        loss: n R, the sum of the losses, in nats.
        penalty: Half the prior's quadratic form, in nats.
        log_occam_factor: $-\frac12 \sum_i \ln(\lambda_i / \lambda)$, at most 0 for convex losses:
            how much of the prior's volume the data leave.
        null: Log evidence of the model that gives every class the same probability; NaN without
            classes.
        gradient_norm: Norm of the gradient of C at the point.
        decrement: How much lower C is at the minimum, in nats; about what the value is too
            small by. Of a Gauss-Newton matrix that is not dense, a bound; of a Hessian that is
            not dense NaN.
        smallest: Smallest eigenvalue of the curvature of C; NaN where it was not computed.
        p: Number of parameters.
        n: Number of examples.
    """

    value: float
    standard_error: float
    loss: float
    penalty: float
    log_occam_factor: float
    null: float
    gradient_norm: float
    decrement: float
    smallest: float
    p: int
    n: int

    @property
    def cost(self) -> float:
        """C at the point, in nats."""
        return self.loss + self.penalty

    @property
    def log_ratio(self) -> float:
        """Log of the evidence over that of the null model; below 0 the null is preferred."""
        return self.value - self.null

    def __float__(self) -> float:
        return self.value


def log_evidence(
    risk: Risk,
    precision: Precision,
    *,
    point: Point | None = None,
    curvature: Literal["hessian", "gauss_newton"] = "hessian",
    method: Literal["auto", "dense", "lanczos"] = "auto",
    standard_error: float = 0.01,
    most: int = 2000,
    seed: int = 0,
) -> Evidence:
    r"""Return Laplace's estimate of the log evidence under a Gaussian prior.

    $\ln P(y | x) \approx -\Big[C(w_0) + \frac12 \ln \frac{\det \nabla\nabla C(w_0)}{\det
    \Lambda}\Big], \quad C(w) = n R(w) + \frac12 w^T \Lambda w$

    In nats, of all n labels together. Exact where C is quadratic; else good where the posterior is
    narrow, and only at a minimum of C: train with this very penalty, or take
    `posterior_mode`. Invariant under linear reparametrization if the prior goes along. It is not
    invariant if the same precision is kept, nor to which one is chosen: sweep it.
    For "squared_error" the noise has variance 1, and the constant (2 pi)^(-n k / 2) is left out.

    Args:
        risk: Model, loss (a negative log likelihood) and examples.
        precision: Lambda of the prior: a number for lambda I, a number or tensor a parameter, or
            a matrix [p, p].
        point: Where; None is the risk's own point.
        curvature: "hessian", or "gauss_newton", which is never negative, so that it can be had
            where training has not quite ended; the same for models linear in their parameters.
        method: "dense" builds the matrix, p products; "lanczos" estimates the determinant from
            random vectors, for one number as precision; "auto" is dense for p up to 3,000.
        standard_error: Asked of "lanczos", relative to the log-determinant of n H + Lambda over n.
        most: Products after which "lanczos" stops in any case; it is exact where p is no more.
        seed: Root of the random vectors.

    Returns:
        The estimate with its parts, and how far from a minimum the point is.

    Raises:
        ValueError: The curvature has an eigenvalue of at most 0, so that the point is no minimum.

    Warns:
        UserWarning: C is more than 0.1 nats lower nearby.

    Source:
        Smith and Le (2018), arXiv:1710.06451, section 2; MacKay (1992).
    """
    check_choice("curvature", curvature, ("hessian", "gauss_newton"))
    check_choice("method", method, ("auto", "dense", "lanczos"))
    own = at_point(risk, point)
    flat = FlatRisk.of(own)
    prior = Prior.of(precision, flat.shapes, risk.device)
    mean, gradient = flat.value_and_gradient(flat.start)
    gradient = own.n * gradient + prior.times(flat.start)
    operator = Curvature(own, kind=curvature)
    dense = method == "dense" or (method == "auto" and flat.p <= MOST_DENSE)
    volume = (
        _dense(operator, prior, gradient)
        if dense
        else _estimated(operator, prior, gradient, standard_error, most, seed)
    )
    loss, penalty = own.n * mean, prior.penalty(flat.start)
    occam = -0.5 * (volume.log_determinant - prior.log_determinant)
    classes = own.split.num_classes
    if volume.decrement > NEAR:
        warnings.warn(
            f"`risk` must be at a minimum of the penalized loss, which is about "
            f"{volume.decrement:.3g} nats lower nearby. Take the point of posterior_mode.",
            stacklevel=2,
        )
    return Evidence(
        value=-(loss + penalty) + occam,
        standard_error=0.5 * volume.standard_error,
        loss=loss,
        penalty=penalty,
        log_occam_factor=occam,
        null=-own.n * math.log(classes) if classes else math.nan,
        gradient_norm=float(gradient.norm()),
        decrement=volume.decrement,
        smallest=volume.smallest,
        p=flat.p,
        n=own.n,
    )


@final
@dataclass(frozen=True, kw_only=True)
class _Volume:
    log_determinant: float
    standard_error: float
    decrement: float
    smallest: float


def _dense(operator: Curvature, prior: Prior, gradient: Tensor) -> _Volume:
    matrix = prior.add_to(operator.risk.n * operator.dense())
    values, vectors = torch.linalg.eigh(matrix)
    smallest = float(values[0])
    if smallest <= 0:
        raise ValueError(
            "`risk` must be at a minimum of the penalized loss; got a curvature there with the "
            f"eigenvalue {smallest:.3g}. Train further, ask for more precision, or take "
            "curvature='gauss_newton'."
        )
    decrement = 0.5 * float(((vectors.T @ gradient).square() / values).sum())
    return _Volume(
        log_determinant=float(values.log().sum()),
        standard_error=0.0,
        decrement=decrement,
        smallest=smallest,
    )


def _estimated(
    operator: Curvature,
    prior: Prior,
    gradient: Tensor,
    standard_error: float,
    most: int,
    seed: int,
) -> _Volume:
    if prior.scalar is None:
        raise ValueError(
            "`precision` must be one number for method='lanczos'; got one a parameter. Take "
            "method='dense'."
        )
    n, (p, _) = operator.risk.n, operator.shape
    found = log_determinant(
        operator, shift=prior.scalar / n, standard_error=standard_error, most=most, seed=seed
    )
    positive = operator.kind == "gauss_newton"
    bound = 0.5 * float(gradient.square().sum()) / prior.scalar
    return _Volume(
        log_determinant=found.value + p * math.log(n),
        standard_error=found.standard_error,
        decrement=bound if positive else math.nan,
        smallest=math.nan,
    )
