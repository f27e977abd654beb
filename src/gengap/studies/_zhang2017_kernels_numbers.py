"""Kernel interpolants, their norms, and ever more random filters; kept in the lab."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, final

import pandas as pd
import torch
from torch import Tensor

from gengap._streams import streams
from gengap.corruptions import RandomLabels
from gengap.data import Split
from gengap.kernels import (
    KernelInterpolator,
    feature_trend,
    gaussian,
    leave_one_out_bandwidth,
)
from gengap.lab import Lab, Measurement, Progress

from ._zhang2017_kernels_scales import (
    FILTER_RIDGES,
    LEVELS,
    RIDGES,
    Filters,
    Interpolant,
    Scale,
    features_of,
    filters,
    images,
    interpolants,
)

MOST_LEFT_OUT = 20_000
"""Examples up to which leave-one-out errors are computed."""
CENTRES = 1_000
FORCED = 1_000
PLAIN, FORCED_LABELS, RANDOM_CENTRES = "least norm", "random labels on test points", "other centres"
Rows = list[dict[str, Any]]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Numbers:
    """What was computed, one row a fit.

    Attributes:
        fits: interpolant, ridge, seed, level: train_error, test_error, left_out_error (None
            where not computed), norm, residual, bandwidth.
        norms: interpolant, kind, seed: train_error, test_error, norm, residual, examples.
        trend: count of filters, features, ridge, seed: test_error, left_out_error, norm, loss.
    """

    fits: pd.DataFrame = field(repr=False)
    norms: pd.DataFrame = field(repr=False)
    trend: pd.DataFrame = field(repr=False)


_COLUMNS = {
    "fits": [
        *("interpolant", "ridge", "seed", "level", "train_error", "test_error", "left_out_error"),
        *("norm", "residual", "bandwidth"),
    ],
    "norms": [
        *("interpolant", "kind", "seed", "train_error", "test_error", "norm", "residual"),
        "examples",
    ],
    "trend": [
        *("count", "features", "ridge", "seed", "test_error", "left_out_error", "norm", "loss"),
    ],
}


def measure(
    lab: Lab,
    scale: Scale,
    seeds: Sequence[int],
    *,
    compute: bool,
    progress: Callable[[Progress], None] | None,
) -> Numbers:
    """Compute what is not there, and keep it in the lab."""
    plan: list[tuple[str, dict[str, Any], Measurement]] = []

    def ask(part: str, place: dict[str, Any], rows: Callable[[], Rows], **options: Any) -> None:
        one = Measurement(
            name=f"kernels-{part}", options={**place, **options}, compute=lambda: {"rows": rows()}
        )
        plan.append((part, place, one))

    for seed in seeds:
        for one in interpolants(scale):
            place = {"interpolant": one.name, "seed": seed}
            for ridge in RIDGES:
                own = {**place, "ridge": ridge}
                ask("fits", own, partial(_fits, one, ridge, seed), **asdict(one), levels=LEVELS)
        first = interpolants(scale)[0]
        place = {"interpolant": first.name, "seed": seed}
        ask("norms", place, partial(_norms, first, seed), **asdict(first))
        asked = filters(scale)
        ask("trend", {"seed": seed}, partial(_trend, asked, seed), **asdict(asked))
    found = lab.measure((one for _, _, one in plan), compute=compute, progress=progress)
    rows: dict[str, Rows] = {part: [] for part in _COLUMNS}
    for (part, place, _), values in zip(plan, found, strict=True):
        if values is not None:
            rows[part] += [{**place, **row} for row in values["rows"]]
    return Numbers(**{part: pd.DataFrame(rows[part], columns=_COLUMNS[part]) for part in _COLUMNS})


def _prepared(one: Interpolant, seed: int) -> tuple[Split, Split, Tensor, Tensor, float]:
    """Return both halves, the rows of their kernel in float64, and the bandwidth."""
    train, test = images(one.data, one.examples, one.tests, seed)
    features = features_of(one.features, one.data)
    x, z = (features(half.batch()[0]).double() for half in (train, test))
    bandwidth = one.bandwidth or leave_one_out_bandwidth(x, train.targets)
    return train, test, x, z, bandwidth


def _one_hot(labels: Tensor, classes: int | None) -> Tensor:
    return torch.nn.functional.one_hot(labels, classes or -1).double()


def _fits(one: Interpolant, ridge: float, seed: int) -> Rows:
    """Fit the labels of every level of corruption with one factorization."""
    train, test, x, z, bandwidth = _prepared(one, seed)
    labels = [RandomLabels(probability=p)(train, seed=seed).targets for p in LEVELS]
    targets = torch.cat([_one_hot(some, train.num_classes) for some in labels], dim=1)
    machine = KernelInterpolator(bandwidth=bandwidth, ridge=ridge).fit(x.numpy(), targets.numpy())
    inside, outside = (
        torch.from_numpy(machine.predict(rows.numpy())).chunk(len(LEVELS), dim=1) for rows in (x, z)
    )
    left_out: list[float | None] = [None] * len(LEVELS)
    if len(x) <= MOST_LEFT_OUT:
        errors = targets - torch.from_numpy(machine.loo_errors_)
        parts = zip(errors.chunk(len(LEVELS), dim=1), labels, strict=True)
        left_out = [_error(values, some) for values, some in parts]
    norms = torch.from_numpy(machine.rkhs_norms_).chunk(len(LEVELS))
    return [
        {
            "level": level,
            "train_error": _error(inside[place], labels[place]),
            "test_error": _error(outside[place], test.targets),
            "left_out_error": left_out[place],
            "norm": float(norms[place].norm()),
            "residual": machine.residual_,
            "bandwidth": bandwidth,
        }
        for place, level in enumerate(LEVELS)
    ]


def _error(values: Tensor, labels: Tensor) -> float:
    """Return the share of examples whose largest value is not that of the label."""
    return float((values.argmax(1) != labels).double().mean())


def _norms(one: Interpolant, seed: int) -> Rows:
    """Compare the norms of interpolants that generalize and that do not."""
    train, test, x, z, bandwidth = _prepared(one, seed)
    points = torch.cat([x, z[:FORCED]])
    true = torch.cat([train.targets, test.targets[:FORCED]])
    drawn = torch.randint(10, (len(z[:FORCED]),), generator=streams(seed)("forced labels"))
    forced = torch.cat([train.targets, drawn])
    targets = torch.cat([_one_hot(labels, train.num_classes) for labels in (true, forced)], dim=1)
    machine = KernelInterpolator(bandwidth=bandwidth).fit(points.numpy(), targets.numpy())
    values = torch.from_numpy(machine.predict(points.numpy())).chunk(2, dim=1)
    norms = torch.from_numpy(machine.rkhs_norms_).chunk(2)
    rows = [
        {
            "kind": kind,
            "train_error": _error(values[place][: len(x)], train.targets),
            "test_error": _error(values[place][len(x) :], test.targets[:FORCED]),
            "norm": float(norms[place].norm()),
            "residual": machine.residual_,
            "examples": len(points),
        }
        for place, kind in enumerate((PLAIN, FORCED_LABELS))
    ]
    return [*rows, *_centres(train, test, x, z, bandwidth, seed)]


def _centres(train: Split, test: Split, x: Tensor, z: Tensor, bandwidth: float, seed: int) -> Rows:
    """Interpolate a few examples from their own kernels, and from as many about random centres.

    Centres are normal, with the mean and covariance of the examples.
    """
    x, labels = x[:CENTRES], train.targets[:CENTRES]
    mean = x.mean(0)
    stream = streams(seed)("centres")
    mix = torch.randn(len(x), len(x), generator=stream, dtype=torch.float64) / len(x) ** 0.5
    rows = []
    for kind, centres in ((f"{PLAIN}, few", x), (RANDOM_CENTRES, mean + mix @ (x - mean))):
        kernel = gaussian(x, centres, bandwidth)
        targets = _one_hot(labels, train.num_classes)
        weights = torch.linalg.solve(kernel, targets)
        squares = (weights * (gaussian(centres, centres, bandwidth) @ weights)).sum()
        rows.append({
            "kind": kind,
            "train_error": _error(kernel @ weights, labels),
            "test_error": _error(gaussian(z, centres, bandwidth) @ weights, test.targets),
            "norm": float(squares.clamp(min=0).sqrt()),
            "residual": float((kernel @ weights - targets).norm() / targets.norm()),
            "examples": len(x),
        })
    return rows


def _trend(asked: Filters, seed: int) -> Rows:
    """Fit more and more filters, ridgeless and with ridges."""
    train, test = images(asked.data, asked.examples, asked.tests, seed)
    pixels, others = (half.batch()[0] for half in (train, test))
    bank = asked.how(seed).fit(pixels)
    each = bank.features_of_a_filter
    targets = _one_hot(train.targets, train.num_classes)  # in float64, else nothing is ridgeless
    rows = []
    counts = [each * count for count in asked.counts]
    for point in feature_trend(
        bank.blocks, pixels, targets, others, counts=counts, ridges=FILTER_RIDGES, relative=True
    ):
        for place, ridge in enumerate(FILTER_RIDGES):
            rows.append({
                "count": point.num_features // each,
                "features": point.num_features,
                "ridge": ridge,
                "test_error": _error(point.predictions[place], test.targets),
                "left_out_error": _error(point.left_out[place], train.targets),
                "norm": float(point.norms[place]),
                "loss": float(point.residuals[place]),
            })
    return rows
