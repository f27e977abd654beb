"""The claims of Haloi (2017), each with its rule, written before the trials."""

import pandas as pd
import torch

from gengap.auditing import EVERY_SEED, verdict
from gengap.models import num_parameters, pyramid
from gengap.report import Claim, Measured

from ._haloi2017_trials import CONSTANT, DECAYED, FAST, RATES, REDUCTIONS, SLOW, Plan
from ._judging import points, values


def claims(ends: pd.DataFrame, plan: Plan) -> list[Claim]:
    """Return the claims, from the ends of the trials."""
    return [
        _same_parameters(plan),
        *[_slower(ends, rate) for rate in RATES],
        *[_decay(ends, reduction) for reduction in REDUCTIONS],
        *[_gap(ends, reduction) for reduction in REDUCTIONS],
    ]


def parameters(plan: Plan) -> dict[str, int]:
    """Return the number of parameters by reduction, on images that are large enough."""
    found = {}
    for reduction in REDUCTIONS:
        with torch.device("meta"):  # no weights, no draws
            model = pyramid(
                (1, 32, 32),
                10,
                width=plan.width,
                depth=plan.depth,
                pool_after=plan.pool_after(reduction),
            )
        found[reduction] = num_parameters(model)
    return found


def _same_parameters(plan: Plan) -> Claim:
    counts = set(parameters(plan).values())
    said = " and ".join(f"{count:,}" for count in sorted(counts))
    return Claim(
        name="the same parameters",
        sentence=f"Networks that shrink fast or slowly have {said} parameters (one channel, ten "
        "classes).",
        rule="One number; a count, no trial.",
        verdict="supported" if len(counts) == 1 else "not supported",
        ours=said,
    )


def _slower(ends: pd.DataFrame, rate: str) -> Claim:
    fast, slow = (
        values(ends, "test_accuracy", reduction=reduction, rate=rate) for reduction in (FAST, SLOW)
    )
    gain = (slow - fast).dropna()
    return Claim(
        name=f"slow reduction generalizes better ({rate} rate)",
        sentence=f"With a {rate} learning rate, the test accuracy of networks that shrink slowly "
        f"less that of those that shrink fast is {points(gain)}.",
        rule=f"More {EVERY_SEED}.",
        verdict=verdict([bool(value > 0) for value in gain]),
        paper="better, whatever the number of parameters",
        ours=points(gain),
    )


def _decay(ends: pd.DataFrame, reduction: str) -> Claim:
    constant, decayed = (
        values(ends, "test_accuracy", reduction=reduction, rate=rate)
        for rate in (CONSTANT, DECAYED)
    )
    gain = (decayed - constant).dropna()
    return Claim(
        name=f"decay of the learning rate helps ({reduction} reduction)",
        sentence=f"With {reduction} reduction, a decayed learning rate adds {points(gain)} of test "
        "accuracy.",
        rule=f"More with decay than without {EVERY_SEED}.",
        verdict=verdict([bool(value > 0) for value in gain]),
        paper="decay helps",
        ours=points(gain),
    )


def gap(ends: pd.DataFrame, **where: object) -> pd.Series:
    """Return by seed the test loss less the train loss."""
    return values(ends, "test_loss", **where) - values(ends, "train_loss", **where)


def _gap(ends: pd.DataFrame, reduction: str) -> Claim:
    constant, decayed = (gap(ends, reduction=reduction, rate=rate) for rate in (CONSTANT, DECAYED))
    change = (decayed - constant).dropna()
    return Claim(
        name=f"decay of the learning rate regularizes ({reduction} reduction)",
        sentence=f"With {reduction} reduction the gap of the loss is {Measured.of(constant):.3f} "
        f"nats at a constant rate and {Measured.of(decayed):.3f} with decay.",
        rule=f"A smaller gap with decay than without {EVERY_SEED}.",
        verdict=verdict([bool(value < 0) for value in change]),
        paper="decay is an implicit regularizer",
        ours=f"{Measured.of(change):+.3f} nats",
    )
