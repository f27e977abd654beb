"""The claims of Martin and Mahoney (2017) and Yang et al. (2021), with rules from before the run.

A rule about networks is asked once a pair of networks: a claim is supported when it holds for every
pair, of at least two. A rule about the solvable model is asked once.
"""

from collections.abc import Callable
from itertools import pairwise

import pandas as pd

from gengap.auditing import PhasePlane, verdict
from gengap.report import Claim, Measured, Verdict

from ._martin2017_numbers import Numbers
from ._martin2017_settings import PROBABILITY, PRODUCTS, SPINODAL, TRANSITION

EVERY_PAIR = "for every pair of networks, of at least two"
POINT, FITS, CLOSE, STRONG = 0.01, 0.01, 0.01, 0.6


def claims(numbers: Numbers) -> list[Claim]:
    """Return the claims, from what was computed and measured."""
    return [
        _transition(numbers),
        _continuous(numbers.products),
        _steeper(numbers.finite),
        _bounded(numbers.finite),
        _fits(numbers.noise),
        _overtrained(numbers.noise),
        _harmless(numbers.noise),
        *(_alike(plane, words) for plane, words in (
            (numbers.noise, "noise and stopping time"),
            (numbers.width, "width and batch size"),
        )),
        _sharpness(numbers.noise),
        _connected(numbers.width),
    ]  # fmt: skip


def _once(holds: bool | None) -> Verdict:
    if holds is None:
        return "inconclusive"
    return "supported" if holds else "not supported"


def _transition(numbers: Numbers) -> Claim:
    found = numbers.transition
    value = f"{found.load:.4f} and {found.spinodal:.4f}"
    return Claim(
        name="Ising perceptrons generalize perfectly from a finite load on",
        sentence=f"Annealed Ising students jump from an error of {found.error:.3f} to 0 at a load "
        f"of {found.load:.4f}; their other maximum vanishes at {found.spinodal:.4f}.",
        rule=f"{TRANSITION} and {SPINODAL:.3f}, to three digits behind the point.",
        verdict=_once(round(found.load, 3) == TRANSITION and round(found.spinodal, 3) == SPINODAL),
        paper="a discontinuous drop (section 3)",
        ours=value,
    )


def _continuous(products: dict[float, float]) -> Claim:
    value = ", ".join(f"{product:.4f} at {load:g}" for load, product in products.items())
    return Claim(
        name="continuous perceptrons err as one over the load",
        sentence=f"Error times load is {value}.",
        rule="Within 0.001 of " + ", ".join(f"{v:.3f}" for v in PRODUCTS.values()) + ".",
        verdict=_once(all(abs(products[load] - v) < 1e-3 for load, v in PRODUCTS.items())),
        paper="towards 1, without a jump (section 3)",
        ours=value,
    )


def steepest(finite: pd.DataFrame) -> pd.Series:
    """Return the largest fall of the error per unit of load, by number of weights."""
    found = {}
    for weights, own in finite.groupby("weights"):
        rows = own.sort_values("load")
        fall, step = -rows["error"].diff(), rows["load"].diff()
        found[weights] = float((fall / step).max())
    return pd.Series(found, dtype=float)


def _steeper(finite: pd.DataFrame) -> Claim:
    falls = steepest(finite)
    value = ", ".join(f"{fall:.2f} with {weights}" for weights, fall in falls.items()) or "–"
    ordered = all(a < b for a, b in pairwise(falls.tolist()))
    return Claim(
        name="the drop becomes steeper with more weights",
        sentence=f"The error of counted Ising students falls by up to {value} weights, per unit "
        "of load.",
        rule="More with every larger number of weights, of at least two.",
        verdict=_once(ordered if len(falls) > 1 else None),
        paper="discontinuous in the limit",
        ours=value,
    )


def _bounded(finite: pd.DataFrame) -> Claim:
    beyond = finite["beyond"].astype(float)
    allowed = PROBABILITY + 2 * (PROBABILITY * (1 - PROBABILITY) / finite["samples"]) ** 0.5
    value = f"{beyond.max():.1%}" if len(beyond) else "–"
    return Claim(
        name="the rigorous bound holds",
        sentence="A student that fits exceeds the union bound in at most "
        f"{value} of samples, whatever the load and the number of weights.",
        rule=f"At most {PROBABILITY:.0%} and two standard errors of such a share, at every load "
        "and number of weights.",
        verdict=_once(bool((beyond <= allowed.astype(float)).all()) if len(beyond) else None),
        paper="error at most the rightmost crossing, in the limit",
        ours=value,
    )


def _by_pair(plane: PhasePlane, rule: Callable[[pd.DataFrame], float]) -> pd.Series:
    """Return a number for every pair whose networks have all been trained, where it is known."""
    found = {
        pair: rule(rows)
        for pair, rows in plane.frame.groupby("pair")
        if rows["test_error"].notna().all()
    }
    return pd.Series(found, dtype=float).dropna()


def _at(rows: pd.DataFrame, *, noise: float, when: str) -> float:
    """Return the test error at a load, at the longest training or the best of the shorter."""
    own = rows[rows["load"] == noise].sort_values("temperature")["test_error"]
    return float(own.iloc[-1] if when == "last" else own.iloc[:-1].min())


def _fits(plane: PhasePlane) -> Claim:
    def worst(rows: pd.DataFrame) -> float:
        return float(rows[rows["temperature"] == rows["temperature"].max()]["train_error"].max())

    found = _by_pair(plane, worst)
    value = f"{Measured.of(found):.2%}"
    return Claim(
        name="networks fit redrawn labels",
        sentence=f"At the longest training the largest train error over all noise is {value}.",
        rule=f"At most {FITS:.0%} {EVERY_PAIR}.",
        verdict=verdict([bool(error <= FITS) for error in found]),
        paper="so that capacity grows with the examples (section 2)",
        ours=value,
    )


def _overtrained(plane: PhasePlane) -> Claim:
    level = float(plane.frame["load"].max())
    found = _by_pair(
        plane, lambda rows: _at(rows, noise=level, when="last") - _at(rows, noise=level, when="")
    )
    value = f"{Measured.of(100 * found):.1f} points"
    return Claim(
        name="noise leads into overtraining, stopping early leads out",
        sentence=f"With {level:.0%} of labels redrawn the longest training errs {value} more on "
        "the test half than the best earlier stopping time.",
        rule=f"At least {100 * POINT:.0f} point more {EVERY_PAIR}.",
        verdict=verdict([bool(gap >= POINT) for gap in found]),
        paper="less load crosses into the poor phase, more temperature out of it (section 4)",
        ours=value,
    )


def _harmless(plane: PhasePlane) -> Claim:
    found = _by_pair(
        plane, lambda rows: _at(rows, noise=0.0, when="last") - _at(rows, noise=0.0, when="")
    )
    value = f"{Measured.of(100 * found):.1f} points"
    return Claim(
        name="without noise there is nothing to stop for",
        sentence=f"With true labels the longest training errs {value} more than the best earlier "
        "stopping time.",
        rule=f"Less than {100 * POINT:.0f} point more {EVERY_PAIR}.",
        verdict=verdict([bool(gap < POINT) for gap in found]),
        paper="stays in the phase of good generalization",
        ours=value,
    )


def ranked(rows: pd.DataFrame, value: str) -> float:
    """Return Spearman's correlation of a value with the test error, over cells that have it."""
    known = rows[rows[value].notna()]
    return float(known[value].rank().corr(known["test_error"].rank()))


def _alike(plane: PhasePlane, words: str) -> Claim:
    found = _by_pair(plane, lambda rows: ranked(rows, "cka"))
    value = f"{Measured.of(found):.2f}"
    return Claim(
        name=f"networks that agree generalize ({words})",
        sentence="Over the cells of the plane the rank correlation of CKA with the test error is "
        f"{value}.",
        rule=f"At most {-STRONG:g} {EVERY_PAIR}.",
        verdict=verdict([bool(one <= -STRONG) for one in found]),
        paper="best test accuracy where CKA is high (Yang et al., phase IV-B)",
        ours=value,
    )


def _sharpness(plane: PhasePlane) -> Claim:
    sharp = _by_pair(plane, lambda rows: ranked(rows, "top_eigenvalue"))
    alike = _by_pair(plane, lambda rows: ranked(rows, "cka"))
    value = f"{Measured.of(sharp):.2f}"
    return Claim(
        name="sharpness alone says less",
        sentence="Over noise and stopping time the rank correlation of the largest eigenvalue "
        f"with the test error is {value}, that of CKA {Measured.of(alike):.2f}.",
        rule=f"Of smaller size than that of CKA {EVERY_PAIR}.",
        verdict=verdict([bool(abs(sharp[pair]) < abs(alike[pair])) for pair in sharp.index]),
        paper="flat minima may generalize badly (Yang et al.)",
        ours=value,
    )


def _connected(plane: PhasePlane) -> Claim:
    def cold(rows: pd.DataFrame) -> float:
        small = rows[rows["temperature"] == rows["temperature"].min()]
        return float(small.sort_values("load")["connectivity"].iloc[-1])

    wide = _by_pair(plane, cold)
    value = f"{Measured.of(wide):.3f}"
    return Claim(
        name="wide networks are connected",
        sentence="At the smallest batches the connectivity of the widest networks on the trained "
        f"curve is {value} nats.",
        rule=f"Within {CLOSE:g} of 0 {EVERY_PAIR}.",
        verdict=verdict([bool(abs(one) <= CLOSE) for one in wide]),
        paper="well connected at large width (Yang et al.)",
        ours=value,
    )
