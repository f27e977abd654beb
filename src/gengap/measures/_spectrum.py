"""What the spectrum of the Hessian gives, as measures."""

from collections.abc import Callable
from dataclasses import replace

import torch

from gengap import curvature

from ._measure import Measure, Question, Value

_PASSES_A_PRODUCT = 2.0
_MOST = 400


def _top_eigenvalue(question: Question) -> Value:
    found = curvature.top_eigenpairs(question.risk, k=1, seed=question.seed)
    residual = float(found.residuals[0])
    note = "" if bool(found.converged[0]) else f"not converged, residual {residual:.1e}"
    return Value(value=float(found.values[0]), passes=_PASSES_A_PRODUCT * found.products, note=note)


def _estimate(found: curvature.Estimate) -> Value:
    return Value(
        value=found.value,
        standard_error=found.standard_error,
        passes=_PASSES_A_PRODUCT * found.products,
        note="" if found.converged else "the standard error asked for was not reached",
    )


def _once(question: Question, estimator: Callable[..., curvature.Estimate]) -> curvature.Estimate:
    """Return an estimate, of 0 products where another measure has had it."""
    name = estimator.__name__
    if name in question.known:
        return replace(question.known[name], products=0)
    found = estimator(question.risk, most=_MOST, seed=question.seed)
    question.known[name] = found
    return found


def _trace(question: Question) -> Value:
    return _estimate(_once(question, curvature.trace))


def _frobenius(question: Question) -> Value:
    return _estimate(_once(question, curvature.frobenius_norm))


def _effective_rank(question: Question) -> Value:
    top, norm = (_once(question, f) for f in (curvature.trace, curvature.frobenius_norm))
    return _estimate(curvature.participation(top, norm))


def _least_trace(question: Question) -> Value:
    from gengap.symmetries import find, orbit_minimum  # loads scipy.optimize

    risk = question.risk
    x = next(risk.batches())[0]
    symmetries = find(risk.model, x)
    found = orbit_minimum("trace", risk, symmetries=symmetries)
    with torch.no_grad():
        outputs = risk.model(x[:1]).numel()
    given = f"{found.given:.3g} as given, where trace is the Hessian's"
    notes = [f"{found.held} factors held" if found.held else given]
    if not found.converged:
        notes.append("the search did not converge")
    return Value(
        value=found.value,
        passes=outputs * (3.0 if symmetries.norms else 1.0),
        note="; ".join(notes),
    )


SPECTRUM = (
    Measure(
        name="top_eigenvalue", formula="largest eigenvalue of the Hessian",
        units="nats per parameter^2", function=_top_eigenvalue, range="real", cost="40",
        invariant=False,
    ),
    Measure(
        name="trace", formula="trace of the Hessian", units="nats per parameter^2",
        function=_trace, range="real", cost="200", invariant=False,
    ),
    Measure(
        name="least_trace", formula="least trace of the Gauss-Newton matrix over all rescalings",
        units="nats per parameter^2", function=_least_trace, range="at least 0",
        cost="an output 1, with BatchNorm 3", invariant=True,
        caveat="with BatchNorm not to be compared with networks without",
    ),
    Measure(
        name="frobenius_norm", formula="root of the sum of squared eigenvalues of the Hessian",
        units="nats per parameter^2", function=_frobenius, range="at least 0", cost="200",
        invariant=False,
    ),
    Measure(
        name="effective_rank", formula="(trace)^2 / (Frobenius norm)^2 of the Hessian",
        units="directions", function=_effective_rank, range="at least 0",
        cost="400, 0 after both others",
        invariant=False, caveat="between 1 and the rank where no eigenvalue is negative",
    ),
)  # fmt: skip
