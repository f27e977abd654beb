"""The claims of figures 1 and 2 of Zhang et al. (2017), each with its rule."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import pandas as pd

from gengap.auditing import verdict
from gengap.report import Claim, Measured

from ._gather import ENDED
from ._judging import JUDGED, each, points, pooled, values
from ._zhang2017_select import of_row, rows_of
from ._zhang2017_trials import Scale


def figure_claims(ends: pd.DataFrame, scale: Scale) -> list[Claim]:
    """Return the claims that the trials of figures 1 and 2 can decide."""
    found = [
        _slower(ends),
        _times_as_long(ends, scale),
        _error_rises(ends),
        _inputs_first(ends),
        _early_stopping(ends, scale),
        _batch_norm(ends, scale),
    ]
    return [claim for claim in found if claim is not None]


def levels(ends: pd.DataFrame, column: str) -> dict[str, pd.DataFrame]:
    """Return for every network of figure 1 a column by level; a row is a seed with all levels."""
    rows = ends[(ends["part"] == "figure") & ends["level"].notna()]
    found = {}
    for name, own in rows.groupby("network", sort=False):
        ended = own[own["status"].isin(ENDED)]
        wide = ended.pivot_table(index="seed", columns="level", values=column, aggfunc="first")
        wide = wide.reindex(columns=sorted(own["level"].unique()))
        found[str(name)] = wide.dropna()
    return found


def _path(frames: Mapping[str, pd.DataFrame], code: str) -> str:
    told = []
    for name, frame in frames.items():
        if len(frame):
            told.append(f"{name} " + ", ".join(_written(v, code) for v in frame.mean()))
    return "; ".join(told) or "no seed has all levels"


def _written(value: float, code: str) -> str:
    return format(value, code) if math.isfinite(value) else "never"


def _steps(frame: pd.DataFrame, data_set: str, network: str) -> pd.Series:
    return values(frame, "steps_to_fit", part="figure", data_set=data_set, network=network)


def _relative(ends: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return steps to fit by network, seed and level, over those on true labels."""
    return {
        name: frame.div(frame[0.0], axis=0) if 0.0 in frame else frame
        for name, frame in levels(ends, "steps_to_fit").items()
    }


def _slower(ends: pd.DataFrame) -> Claim:
    frames = levels(ends, "steps_to_fit")

    def holds(steps: Sequence[float]) -> bool:
        pairs = pairwise(steps)
        return math.isfinite(steps[0]) and all(a <= b for a, b in pairs)

    asked = {name: [holds(list(s)) for s in f.to_numpy()] for name, f in frames.items()}
    decided, lone = pooled(asked)
    path = _path(_relative(ends), ".2f")
    return Claim(
        name="corruption slows the fit",
        sentence=f"Steps to a train accuracy of 99%, true labels = 1, as labels are redrawn with "
        f"p = 0, 0.2, 0.4, 0.6, 0.8, 1: {path}." + lone,
        rule=f"The steps never fall from a level of corruption to the next {JUDGED}.",
        verdict=decided,
        paper="rises at every level (figure 1 b)",
        ours=path,
    )


def _times_as_long(ends: pd.DataFrame, scale: Scale) -> Claim | None:
    if scale == "smoke":  # the factor is that of CIFAR-10
        return None
    times = {
        name: frame[1.0] if 1.0 in frame else pd.Series(dtype=float)
        for name, frame in _relative(ends).items()
    }
    asked = {name: [bool(1.5 <= v <= 3.5) for v in some] for name, some in times.items()}
    decided, lone = pooled(asked)
    ours = each(times, lambda some: f"{Measured.of(some):.2f}")
    return Claim(
        name="random labels take a small factor longer",
        sentence=f"Random labels take so many times the steps of true labels: {ours}." + lone,
        rule=f"Between 1.5 and 3.5 times {JUDGED}.",
        verdict=decided,
        paper="1.5 to 3.5 (figure 1 b)",
        ours=ours,
    )


def _error_rises(ends: pd.DataFrame) -> Claim:
    frames = {name: 1 - frame for name, frame in levels(ends, "test_accuracy").items()}

    def holds(errors: Sequence[float]) -> bool:
        return all(a < b for a, b in pairwise(errors))

    decided, lone = pooled({n: [holds(list(s)) for s in f.to_numpy()] for n, f in frames.items()})
    path = _path(frames, ".1%")
    return Claim(
        name="test error rises with corruption",
        sentence="Test error as labels are redrawn with p = 0, 0.2, 0.4, 0.6, 0.8, 1: "
        f"{path}." + lone,
        rule=f"The test error rises from every level to the next {JUDGED}.",
        verdict=decided,
        paper="rises steadily to 90% (figure 1 c)",
        ours=path,
    )


def _inputs_first(ends: pd.DataFrame) -> Claim:
    asked, told = {}, []
    for name in ends[ends["part"] == "figure"]["network"].unique():
        labels = _steps(ends, "random labels", name)
        inputs = [_steps(ends, data_set, name) for data_set in ("random pixels", "gaussian")]
        seeds = [s for s in labels.index if all(s in steps.index for steps in inputs)]
        asked[name] = [all(bool(steps[s] < labels[s]) for steps in inputs) for s in seeds]
        if seeds:
            means = [_times(Measured.of(steps[seeds] / labels[seeds])) for steps in inputs]
            told.append(f"{name} {means[0]} and {means[1]}")
    decided, lone = pooled(asked)
    ours = "; ".join(told) or "no seed has them all"
    return Claim(
        name="random inputs are fitted before random labels",
        sentence="In units of the steps that random labels take, random pixels and Gaussian "
        f"images take: {ours}." + lone,
        rule=f"Random pixels and Gaussian images, with true labels, take fewer steps {JUDGED}.",
        verdict=decided,
        paper="start to converge earlier (figure 1 a)",
        ours=ours,
    )


def _times(ratio: Measured) -> str:
    return f"{ratio:.2f}" if math.isfinite(ratio.mean) else "never fitted"


def _early_stopping(ends: pd.DataFrame, scale: Scale) -> Claim | None:
    rows = rows_of(
        scale, labels="true", model="small_inception", weight_decay=False, augmentation=None
    )
    if not rows:
        return None
    gains = {
        r.name: of_row(ends, r, "best_test_accuracy") - of_row(ends, r, "test_accuracy")
        for r in rows
    }
    decided, lone = pooled({n: [bool(v <= 0.01) for v in some] for n, some in gains.items()})
    ours = each(gains, points)
    return Claim(
        name="early stopping does not help Inception",
        sentence=f"The best test accuracy on the way exceeds the last by: {ours}." + lone,
        rule=f"By at most 1 point {JUDGED}.",
        verdict=decided,
        paper="no benefit on CIFAR-10 (figure 2 b)",
        ours=ours,
    )


def _batch_norm(ends: pd.DataFrame, scale: Scale) -> Claim | None:
    rows = rows_of(
        scale, labels="true", model="small_inception", weight_decay=False, augmentation=None
    )
    if not rows:
        return None
    with_it, without = (of_row(ends, row, "test_accuracy") for row in rows)
    gain = (with_it - without).dropna()
    return Claim(
        name="BatchNorm helps a little",
        sentence="With BatchNorm the test accuracy of Inception is higher by "
        f"{points(gain) if len(gain) else 'an unknown amount: no pair of runs has ended'}.",
        rule="Higher, by at most 10 points, in every seed, of at least two.",
        verdict=verdict([bool(0 < value <= 0.1) for value in gain]),
        paper="3.75 points (3 to 4 in figure 2 b)",
        ours=points(gain) if len(gain) else "",
    )
