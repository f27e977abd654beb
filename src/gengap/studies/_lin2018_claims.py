"""The claims of Lin (2018), each with its rule, written before the run."""

import math

import pandas as pd

from gengap.auditing import EVERY_SEED, verdict
from gengap.report import Claim, Measured

from ._lin2018_numbers import TARGETS, Numbers, Target, exponents

NEAR, DIGITS = 0.1, 1e-9
SPARSE_EXPONENT = 1 / 3


def claims(numbers: Numbers) -> list[Claim]:
    """Return the claims, from what was measured."""
    return [
        _localized(numbers.sharpness),
        *[_rate(numbers.rates, target) for target in TARGETS],
        _sparse(numbers.sparse),
    ]


def _localized(sharpness: pd.DataFrame) -> Claim:
    expected = sharpness["sharpness"].map(lambda k: 1 / (1 + math.exp(k / 2)))
    holds = (sharpness["difference"] / expected - 1).abs() <= DIGITS
    ours = ", ".join(
        f"{row.difference:.1e} at K = {row.sharpness:g}" for row in sharpness.itertuples()
    )
    return Claim(
        name="two hidden layers localize",
        sentence="A unit of the second hidden layer differs from the indicator of its cube by "
        f"{ours or '–'}.",
        rule=f"1 / (1 + exp(K / 2)) to {DIGITS:g} of it at every K, of at least two.",
        verdict=verdict([bool(value) for value in holds]),
        paper="one inside, zero outside, up to any accuracy",
        ours=ours,
    )


def _rate(rates: pd.DataFrame, target: Target) -> Claim:
    found = exponents(rates[rates["target"] == target.name], "n")
    value = f"{Measured.of(found.values()):.3f}"
    return Claim(
        name=f"the rate ({target.name})",
        sentence=f"The squared error on a target of smoothness r = {target.smoothness:g} in d = "
        f"{target.dimension} falls as n to the {value}.",
        rule=f"Within {NEAR:g} of -2r / (2r + d) = {target.exponent:.3f} {EVERY_SEED}.",
        verdict=verdict([abs(one - target.exponent) <= NEAR for one in found.values()]),
        paper=f"{target.exponent:.3f}, up to a logarithm",
        ours=value,
    )


def _sparse(sparse: pd.DataFrame) -> Claim:
    found = exponents(sparse, "share")
    value = f"{Measured.of(found.values()):.3f}"
    return Claim(
        name="sparse targets are easier",
        sentence="The squared error on a target that is 0 but on a share q of the interval falls "
        f"with the share as q to the {value}.",
        rule=f"Within {NEAR:g} of d / (2r + d) = {SPARSE_EXPONENT:.3f} {EVERY_SEED}.",
        verdict=verdict([abs(one - SPARSE_EXPONENT) <= NEAR for one in found.values()]),
        paper=f"{SPARSE_EXPONENT:.3f}",
        ours=value,
    )
