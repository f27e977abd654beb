"""What rescaling and other coordinates do to the sharpness of one and the same function."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, final

import pandas as pd
import torch
from torch import nn

from gengap.curvature import hessian, keskar_sharpness, top_eigenpairs, trace
from gengap.lab import Lab, Measurement, Progress, Trial
from gengap.measures import evaluate
from gengap.risk import Risk
from gengap.symmetries import (
    InputsReparametrized,
    Radial,
    WeightNorm,
    orbit_minimum,
    raise_eigenvalues,
    reparametrize,
    sharpen_within,
    transform,
)

from ._gather import Entry

ALPHAS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
EPSILONS = (1e-2, 1e-4, 1e-6)
STAYS_AT = 64.0
"""The factor at which measures are compared; a power of two changes no digit of the outputs."""
ABOVE = 10.0
"""The bound M of theorem 5, in units of the largest eigenvalue of the trained network."""
FACTORS = (0.1, 10.0)
_PROBE = 200
FAR = 1e5
"""Factors of the rescalings after which the least trace is found again: ten decades."""
_KINDS = ("scaled", "within", "measures", "theorem", "coordinates", "orbit")


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Numbers:
    """What was measured, one frame a part; each has the columns network and seed.

    Attributes:
        scaled: One row a factor alpha: difference of outputs, loss, top_eigenvalue, trace,
            trace_error, sharpness.
        within: One row an epsilon: the sharpness that a ball of that radius holds at least.
        measures: One row a measure: value before and after rescaling, and whether it claims to
            stay.
        theorem: The promised number of eigenvalues above the bound, and their number.
        coordinates: One row a change of coordinates and factor: what is expected of the largest
            eigenvalue or the input gradient, and what was found.
        orbit: One row a regime of training: the trace, the least trace over all rescalings, and
            by how much the latter differs when it starts from far rescalings.
    """

    scaled: pd.DataFrame = field(repr=False)
    within: pd.DataFrame = field(repr=False)
    measures: pd.DataFrame = field(repr=False)
    theorem: pd.DataFrame = field(repr=False)
    coordinates: pd.DataFrame = field(repr=False)
    orbit: pd.DataFrame = field(repr=False)


def measure(
    lab: Lab,
    entries: Sequence[Entry],
    *,
    compute: bool,
    progress: Callable[[Progress], None] | None,
) -> Numbers:
    """Measure the networks of the trials that are complete, and keep it in the lab."""
    plan: list[tuple[Entry, Measurement]] = []
    for entry in entries:
        trial = entry.trial
        if entry.place["part"] == "orbit":
            plan.append((entry, _asked(lab, trial, "orbit", {"factor": FAR, "draws": 2}, _orbit)))
        elif entry.place["part"] == "scaled":
            for alpha in ALPHAS:
                plan.append((entry, _asked(lab, trial, "scaled", {"alpha": alpha}, _scaled)))
            plan.append((entry, _asked(lab, trial, "within", {"epsilons": EPSILONS}, _within)))
            plan.append((entry, _asked(lab, trial, "measures", {"factor": STAYS_AT}, _measures)))
            options = {"factors": FACTORS}
            plan.append((entry, _asked(lab, trial, "coordinates", options, _coordinates)))
        else:
            plan.append((entry, _asked(lab, trial, "theorem", {"above": ABOVE}, _theorem)))
    found = lab.measure((one for _, one in plan), compute=compute, progress=progress)
    rows: dict[str, list[dict[str, Any]]] = {kind: [] for kind in _KINDS}
    for (entry, one), values in zip(plan, found, strict=True):
        if values is not None:
            kept = ("network", "regime") if one.name == "orbit" else ("network",)
            place = {**{key: entry.place[key] for key in kept}, "seed": entry.trial.seed}
            rows[one.name] += [{**place, **row} for row in values["rows"]]
    return Numbers(**{kind: pd.DataFrame(rows[kind], columns=_COLUMNS[kind]) for kind in _KINDS})


_PLACE = ("network", "seed")
_COLUMNS = {
    "scaled": [
        *(*_PLACE, "alpha", "difference", "loss", "top_eigenvalue", "trace", "trace_error"),
        "sharpness",
    ],
    "within": [*_PLACE, "epsilon", "sharpness", "distance"],
    "measures": [*_PLACE, "name", "invariant", "before", "after", "note"],
    "theorem": [*_PLACE, "parameters", "rank", "held_back", "promised", "above", "difference"],
    "coordinates": [*_PLACE, "change", "factor", "expected", "found"],
    "orbit": [*_PLACE, "regime", "loss", "given", "least", "spread", "converged"],
}
Rows = list[dict[str, Any]]


def _asked(
    lab: Lab,
    trial: Trial,
    name: str,
    options: Mapping[str, Any],
    rows: Callable[[Risk, Mapping[str, Any]], Rows],
) -> Measurement:
    def compute() -> dict[str, Any]:
        risk = Risk(lab.model(trial), trial.splits()[0], dtype=torch.float64)
        return {"rows": rows(risk, options)}

    return Measurement(trial=trial, name=name, options=options, compute=compute)


def _on(risk: Risk, model: nn.Module) -> Risk:
    return Risk(model, risk.split, loss=risk.loss, dtype=torch.float64)


def _scaled(risk: Risk, options: Mapping[str, Any]) -> Rows:
    inputs = next(iter(risk.batches()))[0]
    changed = transform(risk.model, options["alpha"], example_inputs=inputs)
    own = _on(risk, changed.model)
    curvature = hessian(own)
    estimate = trace(curvature, standard_error=0.05)
    return [
        {
            "alpha": options["alpha"],
            "difference": changed.difference,
            "loss": own(),
            "top_eigenvalue": float(top_eigenpairs(curvature, k=1).values[0]),
            "trace": estimate.value,
            "trace_error": estimate.standard_error,
            "sharpness": keskar_sharpness(own, starts=2).value,
        }
    ]


def _within(risk: Risk, options: Mapping[str, Any]) -> Rows:
    found = [sharpen_within(risk, epsilon) for epsilon in options["epsilons"]]
    return [
        {"epsilon": one.epsilon, "sharpness": 100 * one.sharpness, "distance": one.distance}
        for one in found
    ]


def _measures(risk: Risk, options: Mapping[str, Any]) -> Rows:
    inputs = next(iter(risk.batches()))[0]
    changed = transform(risk.model, options["factor"], example_inputs=inputs).model
    before, after = (evaluate(model, risk.split) for model in (risk.model, changed))
    both = before.assign(after=after["value"])
    return [
        {
            "name": row.name,
            "invariant": row.invariant,
            "before": row.value,
            "after": row.after,
            "note": row.note,
        }
        for row in both.itertuples(index=False)
    ]


def _theorem(risk: Risk, options: Mapping[str, Any]) -> Rows:
    eigenvalues = torch.linalg.eigvalsh(hessian(risk).dense())
    above = options["above"] * float(eigenvalues.max())
    raised = raise_eigenvalues(risk, eigenvalues, above=above)
    again = torch.linalg.eigvalsh(hessian(_on(risk, raised.model)).dense())
    return [
        {
            "parameters": len(eigenvalues),
            "rank": raised.rank,
            "held_back": raised.held_back,
            "promised": raised.promised,
            "above": int((again > above).sum()),
            "difference": raised.difference,
        }
    ]


def _coordinates(risk: Risk, options: Mapping[str, Any]) -> Rows:
    center = dict(risk.params)
    top = float(top_eigenpairs(risk, k=1).values[0])
    inputs = _input_gradient(risk.model, risk)
    found = []
    for factor in options["factors"]:
        inner = {"delta": 1.0, "rho": 0.01 * factor**0.5, "r_hat": 0.01 / factor**0.5}
        radial = reparametrize(risk.model, Radial(center=center, **inner))
        other = float(top_eigenpairs(_on(risk, radial), k=1).values[0])
        found.append(_row("radial, appendix A", factor, factor**-2, other / top))
        found.append(_row("weight norm", factor, factor**-2, _weight_norm(risk, factor)))
        scaled = InputsReparametrized(risk.model, partial(torch.div, other=factor))
        ratio = _input_gradient(scaled, risk, by=factor) / inputs
        found.append(_row("inputs", factor, 1 / factor, ratio))
    return found


def _orbit(risk: Risk, options: Mapping[str, Any]) -> Rows:
    inputs = next(iter(risk.batches()))[0]
    own = orbit_minimum("trace", risk)
    again = [
        orbit_minimum("trace", _on(risk, changed.model)).value
        for changed in (
            transform(risk.model, options["factor"], example_inputs=inputs, seed=seed)
            for seed in range(options["draws"])
        )
    ]
    values = [own.value, *again]
    return [
        {
            "loss": risk(),
            "given": own.given,
            "least": own.value,
            "spread": max(values) / min(values) - 1,
            "converged": own.converged,
        }
    ]


def _row(change: str, factor: float, expected: float, found: float) -> dict[str, Any]:
    return {"change": change, "factor": factor, "expected": expected, "found": found}


def _weight_norm(risk: Risk, factor: float) -> float:
    """Return by how much the largest eigenvalue of one block changes as its v grows."""
    tops = []
    for length in (1.0, factor):
        own = _on(risk, reparametrize(risk.model, WeightNorm(length=length)))
        block = [name for name in own.params if name.endswith("weight/v")][:1]
        tops.append(float(top_eigenpairs(hessian(own, names=block), k=1).values[0]))
    return tops[1] / tops[0]


def _input_gradient(model: nn.Module, risk: Risk, *, by: float = 1.0) -> float:
    """Return the mean length of the gradient of the loss by the inputs, over some examples."""
    x, y = risk[list(range(min(risk.n, _PROBE)))].split.batch()
    u = (risk.cast(x) * by).requires_grad_()
    with torch.enable_grad():
        total = risk.losses(model(u), risk.cast(y)).sum()
    (gradient,) = torch.autograd.grad(total, [u])
    return float(gradient.flatten(1).norm(dim=1).mean())
