"""The least value of a measure over all rescalings of one network."""

import math
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from gengap._checks import check_count
from gengap.curvature import NotConvexError, gauss_newton_diagonal
from gengap.risk import Risk

from ._balance import balance
from ._blocks import spread
from ._evaluate import Measured, number_of, with_model
from ._exponential_sum import ExponentialSum, Least
from ._find import find
from ._symmetries import Symmetries

_STEP = 1e-3
_REACH = math.log(1e3)


@final
@dataclass(frozen=True, kw_only=True)
class OrbitMinimum:
    """The least value found of a measure over the rescalings of one network.

    Attributes:
        value: The least value, in the measure's units. It is the minimum where `convex`, else an
            upper bound of it.
        given: The measure at the network given.
        balanced: The measure at the balanced network.
        log_scales: Log-scales from the network given to that of the least value, [num_scales].
        model: The network of the least value.
        convex: Whether the problem is convex in the log-scales that were moved.
        converged: Whether the search ended because nothing could be gained.
        moved: Number of log-scales, or of layers, that were moved in the search.
        held: Number of log-scales that have no minimum and were held: those that BatchNorm takes
            up where the weights they multiply have length one, those that frozen weights take up
            where the network is balanced.
        evaluations: Evaluations of the measure, or steps where it was not needed.
    """

    value: float
    given: float
    balanced: float
    log_scales: Tensor
    model: nn.Module
    convex: bool
    converged: bool
    moved: int
    held: int
    evaluations: int

    def __float__(self) -> float:
        return self.value


def orbit_minimum(
    measure: Measured | Literal["trace"],
    risk: Risk,
    *,
    symmetries: Symmetries | None = None,
    steps: int = 10,
) -> OrbitMinimum:
    r"""Minimize a measure over the rescalings that keep a network's function.

    The network is first balanced: of all rescalings it takes the one with the shortest weights,
    $\min_t \sum_j \theta_j^2 e^{2 a_j \cdot t}$, a convex problem with one solution. So everything
    after it is the same, up to rounding, whichever rescaling of the network was given.

    From there "trace" minimizes the trace of the Gauss-Newton matrix G over all log-scales,

    $$\min_t \sum_j G_{jj} e^{-2 a_j \cdot t},$$

    convex again, so the minimum is found: by L-BFGS and Newton's method on its logarithm. Where
    the outputs are linear in every single parameter (ReLU, max-pooling, no tied weights) it is the
    trace of the Hessian. The loss must be convex in the outputs. With BatchNorm the sum leaves out
    the factors by which its weights help its variances (see `Symmetries.apply`), near 1, so the
    place is the minimum up to these; the values are those of the networks. Any other measure is a
    black box: L-BFGS on its logarithm, with one log-factor a layer and central differences, from
    the network of least trace or the balanced one, whichever has the smaller value.

    Scales that BatchNorm or frozen weights take up are held: along them the trace has the infimum
    0.

    Args:
        measure: "trace", or a function of a `Risk` that returns a positive number.
        risk: Model, loss and split. Computed in float64.
        symmetries: What `find` returned; None finds them.
        steps: Of L-BFGS, for measures that are functions.

    Returns:
        The least value found and where.

    Raises:
        ValueError: The model has nothing to rescale, the loss is not convex in the outputs (for
            "trace"), or the measure is not positive.

    Cost: a forward and backward pass for each of c outputs; for measures that are functions also
    2 layers + 1 evaluations a step.
    """
    if measure != "trace" and not callable(measure):
        raise ValueError(f"`measure` must be 'trace' or a function of a risk; got {measure!r}.")
    check_count("steps", steps)
    risk = Risk(
        risk.model,
        risk.split,
        loss=risk.loss,
        chunk=risk.chunk,
        dtype=torch.float64,
        device=risk.device,
    )
    found = symmetries or find(risk.model, next(iter(risk.batches()))[0])
    if not found.num_scales:
        raise ValueError("`risk` must hold a model with units to rescale; `find` says why not.")
    start, free = balance(found, risk.model)
    middle = with_model(risk, found.apply(risk.model, start))
    diagonal = (
        _diagonal(middle) if measure == "trace" else gauss_newton_diagonal(middle, negative="drop")
    )
    total = ExponentialSum(found, diagonal, -2.0)
    least = total.least(free)
    if callable(measure):
        starts = [start, start + least.log_scales]
        return _descend(measure, risk, found, starts, free, steps)
    return _least_trace(risk, found, total, least, start, free)


def _least_trace(
    risk: Risk, found: Symmetries, total: ExponentialSum, least: Least, start: Tensor, free: Tensor
) -> OrbitMinimum:
    log_scales = start + least.log_scales
    model = found.apply(risk.model, log_scales)
    value, given = least.value, math.exp(total.log_value(-start))
    if found.norms:  # BatchNorm's weights do not change by powers alone
        value, given = _trace(with_model(risk, model)), _trace(risk)
    return OrbitMinimum(
        value=value,
        given=given,
        balanced=math.exp(total.log_value(found.log_scales())),
        log_scales=log_scales,
        model=model,
        convex=True,
        converged=least.converged,
        moved=int(free.sum()),
        held=int((~free).sum()),
        evaluations=least.steps,
    )


def _trace(risk: Risk) -> float:
    return float(sum(part.sum() for part in _diagonal(risk).values()))


def _diagonal(risk: Risk) -> dict[str, Tensor]:
    try:
        return gauss_newton_diagonal(risk, negative="refuse")
    except NotConvexError as error:
        raise NotConvexError(f"{error} Give the measure as a function of a risk.") from error


def _descend(
    measure: Measured,
    risk: Risk,
    found: Symmetries,
    starts: list[Tensor],
    free: Tensor,
    steps: int,
) -> OrbitMinimum:
    places = [n for n, place in enumerate(found.rescalings) if bool(free[place.scales].any())]
    models = [with_model(risk, found.apply(risk.model, start)) for start in starts]
    values = [number_of(measure(one)) for one in models]
    chosen = values.index(min(values))
    middle, count = models[chosen], [len(models)]

    def scales(x: "np.ndarray") -> Tensor:
        factors = torch.zeros(len(found.rescalings), dtype=torch.float64)
        factors[places] = torch.from_numpy(np.asarray(x))
        return spread(found, factors) * free

    def evaluate(x: "np.ndarray") -> float:
        count[0] += 1
        model = found.apply(middle.model, scales(x))
        value = number_of(measure(with_model(risk, model)))
        if not value > 0:
            raise ValueError(f"`measure` must be positive on every rescaling; got {value!r}.")
        return math.log(value)

    def gradient(x: "np.ndarray") -> "np.ndarray":
        steps_ = _STEP * np.eye(len(x))
        return np.array([(evaluate(x + e) - evaluate(x - e)) / (2 * _STEP) for e in steps_])

    best, done = np.zeros(len(places)), True
    value = evaluate(best)
    if places:
        solved = minimize(
            evaluate,
            best,
            jac=gradient,
            method="L-BFGS-B",
            bounds=[(-_REACH, _REACH)] * len(places),
            options={"maxiter": steps, "ftol": 1e-7, "gtol": 1e-4},
        )
        if solved.fun < value:
            best, value = solved.x, float(solved.fun)
        done = bool(solved.success)
    log_scales = starts[chosen] + scales(best)
    return OrbitMinimum(
        value=math.exp(value),
        given=number_of(measure(risk)),
        balanced=values[0],
        log_scales=log_scales,
        model=found.apply(risk.model, log_scales),
        convex=False,
        converged=done,
        moved=len(places),
        held=int((~free).sum()),
        evaluations=count[0],
    )
