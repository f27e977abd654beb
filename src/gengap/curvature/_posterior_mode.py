"""The minimum of the penalized loss: the most probable parameters under a Gaussian prior."""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from gengap._checks import check_count, check_positive
from gengap.risk import Risk

from ._flat_risk import FlatRisk
from ._hessian import hessian
from ._points import Point, as_point
from ._prior import Precision, Prior

MOST_DENSE = 3000
_HALVINGS = 30


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PosteriorMode:
    r"""Parameters at which $C(w) = n R(w) + \frac12 w^T \Lambda w$ was found to be lowest.

    Attributes:
        params: The point, name to float64 tensor.
        cost: C there, in nats: a sum over examples.
        gradient_norm: Norm of the gradient of C there.
        decrement: How much lower the minimum of the quadratic model at the point is, in nats:
            about what is missing to the minimum. NaN where it was not computed.
        converged: Whether the decrement, or else the gradient's norm over 1 + its norm at the
            start, is within the tolerance.
        gradients: Forward-and-backward passes over the examples, without those of Hessians.
        hessians: Dense Hessians, each of p products.
    """

    params: dict[str, Tensor]
    cost: float
    gradient_norm: float
    decrement: float
    converged: bool
    gradients: int
    hessians: int


def posterior_mode(
    risk: Risk,
    precision: Precision,
    *,
    start: Point | None = None,
    steps: int = 1000,
    newton: int = 30,
    tolerance: float = 1e-9,
) -> PosteriorMode:
    r"""Find a minimum of the penalized loss, $C(w) = n R(w) + \frac12 w^T \Lambda w$.

    L-BFGS in float64 on all examples, then Newton's method with dense Hessians for at most 3,000
    parameters. For convex losses (linear models) the one minimum; else the one of the valley of
    the start, and only where the loss is smooth. Converges slowly where the precision is small
    and the data can be separated; the result says whether it has.

    Args:
        risk: Model, loss and examples; C has their sum, not their mean.
        precision: Of the prior: a number, one an entry of every parameter, or a matrix [p, p].
        start: Where to start; None is the risk's own point.
        steps: Most iterations of L-BFGS.
        newton: Most steps of Newton's method; 0 leaves it out.
        tolerance: Decrement, in nats, at which it has converged.

    Returns:
        The point, and how far from a minimum it is.

    Cost: one forward-and-backward pass an evaluation; p Hessian-vector products a Newton step.
    """
    check_count("steps", steps)
    check_count("newton", newton, least=0)
    check_positive("tolerance", tolerance)
    flat = FlatRisk.of(at_point(risk, start))
    prior = Prior.of(precision, flat.shapes, risk.device)
    penalized = _Penalized(flat, prior)
    first = float(penalized(flat.start)[1].norm())
    point = _lbfgs(penalized, flat.start, steps)
    decrement, hessians = float("nan"), 0
    if flat.p <= MOST_DENSE:
        for turn in range(newton + 1):
            value, gradient = penalized(point)
            hessians += 1
            step = _newton_step(flat, prior, point, gradient)
            if step is None:
                break
            decrement = 0.5 * float(gradient @ step)
            if decrement <= tolerance or turn == newton:
                break
            moved = _shortened(penalized, point, step, value, decrement)
            if moved is None:
                break
            point = moved
    value, gradient = penalized(point)
    norm = float(gradient.norm())
    near = decrement <= tolerance if decrement == decrement else norm <= 1e-6 * (1 + first)
    return PosteriorMode(
        params={name: part.clone() for name, part in flat.unflatten(point).items()},
        cost=value,
        gradient_norm=norm,
        decrement=decrement,
        converged=near,
        gradients=flat.gradients,
        hessians=hessians,
    )


def at_point(risk: Risk, point: Point | None) -> Risk:
    """Return the risk in float64 with its own point moved to `point`."""
    own = Risk(
        risk.model,
        risk.split,
        loss=risk.loss,
        chunk=risk.chunk,
        dtype=torch.float64,
        device=risk.device,
    )
    if point is not None:
        held = dict(own.model.named_parameters())
        for name, value in as_point(point, own, name="point").items():
            held[name].data = value.clone()
    return own


@final
class _Penalized:
    """C and its gradient as a function of one vector."""

    def __init__(self, flat: FlatRisk, prior: Prior) -> None:
        self.flat, self.prior = flat, prior

    def __call__(self, at: Tensor) -> tuple[float, Tensor]:
        mean, gradient = self.flat.value_and_gradient(at)
        n = self.flat.risk.n
        return n * mean + self.prior.penalty(at), n * gradient + self.prior.times(at)


def _lbfgs(penalized: _Penalized, start: Tensor, steps: int) -> Tensor:
    from scipy.optimize import minimize

    def both(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = penalized(torch.from_numpy(x).to(start))
        return value, gradient.cpu().numpy()

    found = minimize(
        both,
        start.cpu().numpy(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": steps, "maxfun": 2 * steps, "maxcor": 30, "ftol": 0.0, "gtol": 1e-8},
    )
    return torch.from_numpy(np.asarray(found.x)).to(start)


def _newton_step(flat: FlatRisk, prior: Prior, point: Tensor, gradient: Tensor) -> Tensor | None:
    """Return (n H + Lambda)^-1 gradient; None where the matrix is not positive definite."""
    moved = at_point(flat.risk, flat.unflatten(point))
    matrix = prior.add_to(flat.risk.n * hessian(moved).dense())
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if int(failed):
        return None
    return torch.cholesky_solve(gradient[:, None], factor)[:, 0]


def _shortened(
    penalized: _Penalized, point: Tensor, step: Tensor, value: float, decrement: float
) -> Tensor | None:
    """Return the point after the longest of the halved steps that lowers C as it should."""
    length = 1.0
    for _ in range(_HALVINGS):
        moved = point - length * step
        if penalized(moved)[0] <= value - 0.2 * length * decrement:
            return moved
        length /= 2
    return None
