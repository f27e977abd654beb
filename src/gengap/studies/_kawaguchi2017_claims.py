"""The claims of Kawaguchi et al. (2017), each with its rule, written before the trials."""

import pandas as pd

from gengap.auditing import EVERY_SEED, verdict
from gengap.capacity import validation_bound
from gengap.report import Claim, Measured

from ._judging import points, values
from ._kawaguchi2017_numbers import Numbers
from ._kawaguchi2017_trials import JUDGED, LABELS, Plan

ROUNDING, NEAR = 1e-4, 0.02


def claims(ends: pd.DataFrame, numbers: Numbers, plan: Plan) -> list[Claim]:
    """Return the claims, from the trials and what was read."""
    return [
        *[_darc1(ends, labels) for labels in LABELS],
        _identity(numbers.terms),
        _noise(numbers.terms, plan),
        _better(numbers.phases),
        _near(ends, numbers.phases),
        _validation(),
    ]


def _darc1(ends: pd.DataFrame, labels: str) -> Claim:
    plain, own = (
        values(ends, "test_accuracy", labels=labels, strength=strength)
        for strength in (0.0, JUDGED)
    )
    gain = (own - plain).dropna()
    return Claim(
        name=f"DARC1 helps ({labels})",
        sentence=f"Labels {labels}: DARC1 of strength {JUDGED:g} adds {points(gain)} of test "
        "accuracy.",
        rule=f"Test accuracy is higher with strength {JUDGED:g} than without {EVERY_SEED}.",
        verdict=verdict([bool(value > 0) for value in gain]),
        paper="test error .26 to .20 % (MNIST), from memory" if labels == "true" else "",
        ours=points(gain),
    )


def _identity(terms: pd.DataFrame) -> Claim:
    gap, told = terms["measured"].astype(float), terms["gap"].astype(float)
    sums = terms[["targets", "linear", "quadratic"]].astype(float).sum(axis=1)
    off = ((sums - gap).abs() / gap.abs().clip(lower=1e-12)).groupby(terms["seed"]).max()
    rounding = terms["residual"].astype(float).abs().max() if len(terms) else float("nan")
    return Claim(
        name="the decomposition is exact",
        sentence="The terms in path coordinates add up to the gap that training recorded, "
        f"up to {off.max() if len(off) else float('nan'):.1e} of it, the float32 of training; "
        f"to the gap in float64 (largest {told.abs().max() if len(told) else float('nan'):.3g}) up "
        f"to {rounding:.1e}.",
        rule=f"Within {ROUNDING:g} of the recorded gap at every level of random labels "
        f"{EVERY_SEED}.",
        verdict=verdict([bool(value <= ROUNDING) for value in off]),
        paper="an identity",
    )


def _noise(terms: pd.DataFrame, plan: Plan) -> Claim:
    gaps = terms.pivot_table(index="seed", columns="level", values="gap")
    whole = gaps.dropna() if set(plan.levels) <= set(gaps.columns) else gaps.iloc[:0]
    rises = [bool((row.diff().dropna() > 0).all()) for _, row in whole.iterrows()]
    ends = [Measured.of(whole[level]) if len(whole) else Measured.of([]) for level in (0.0, 1.0)]
    return Claim(
        name="one network, any gap",
        sentence=f"The gap of squared loss of one perceptron is {ends[0]:.2f} on true labels and "
        f"{ends[1]:.2f} on random ones, with as many paths and weights.",
        rule=f"The gap rises with every level of random labels {EVERY_SEED}.",
        verdict=verdict(rises),
        paper="the same hypothesis space, different gaps",
        ours=f"{ends[0]:.2f} and {ends[1]:.2f}",
    )


def _better(phases: pd.DataFrame) -> Claim:
    gain = (phases["second"] - phases["first"]).astype(float)
    holds = (gain > 0).groupby(phases["seed"]).all()
    return Claim(
        name="the second phase learns",
        sentence="With the activation pattern of a part of the examples frozen, the weights "
        f"learned from the rest add {points(gain)} of test accuracy on the mean over shares.",
        rule=f"Test accuracy rises in the second phase at every share {EVERY_SEED}.",
        verdict=verdict([bool(value) for value in holds]),
    )


def _near(ends: pd.DataFrame, phases: pd.DataFrame) -> Claim:
    whole = values(ends, "test_accuracy", labels="true", strength=0.0)
    best = phases.astype(float).groupby("seed")["second"].max()
    lost = (whole - best).dropna()
    return Claim(
        name="two phases cost little",
        sentence=f"At its best share two-phase training is {points(lost)} of test accuracy behind "
        "ordinary training on all examples.",
        rule=f"At most {100 * NEAR:g} points {EVERY_SEED}.",
        verdict=verdict([bool(value <= NEAR) for value in lost]),
        paper="competitive",
        ours=points(lost),
    )


def _validation() -> Claim:
    bound = validation_bound(1e9, 10_000, confidence=0.9).value
    return Claim(
        name="a validation set is enough",
        sentence=f"For 10^9 models and 10,000 validation examples the bound on the gap is "
        f"{bound:.2%} with probability 0.9, whatever the networks.",
        rule="The bound is 6.94 % to three digits; a computation, no trial.",
        verdict="supported" if round(bound, 4) == 0.0694 else "not supported",
        paper="6.94 %",
    )
