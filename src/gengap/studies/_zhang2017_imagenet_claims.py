"""The claims of Zhang et al. (2017) on ImageNet, each with its rule, written before any trial."""

import pandas as pd

from gengap.auditing import EVERY_SEED, verdict
from gengap.report import Claim, Measured, Verdict

from ._judging import percent, points, values
from ._zhang2017_imagenet_trials import PLANS, ROWS, Row, Scale

FITS = {(False, False): 0.90, (False, True): 0.80, (True, True): 0.80}
"""Train accuracy from which random labels count as fitted, by dropout and weight decay."""
STANDARD_ERRORS = 4.0
SHARE = 2 / 3


def claims(ends: pd.DataFrame, scale: Scale) -> list[Claim]:
    """Return the claims, from one row a trial.

    Synthetic images are learned without help: what regularizers add is judged on ImageNet only.
    """
    found = [
        *[_fits(ends, row) for row in ROWS if row.labels == "random"],
        _at_chance(ends, scale),
        _generalizes(ends),
    ]
    if scale == "paper":
        found += [_augmentation(ends), _all_together(ends), _stopping(ends)]
    return found


def of(ends: pd.DataFrame, row: Row, column: str) -> pd.Series:
    """Return a column of a row's runs that ended, by seed."""
    return values(ends, column, row=ROWS.index(row))


def find(labels: str, regularizers: str) -> Row:
    """Return the row of these labels and regularizers."""
    return next(row for row in ROWS if (row.labels, row.regularizers) == (labels, regularizers))


ALL, NONE = find("true", "augmentation, dropout, weight decay"), find("true", "none")
AUGMENTED, DECAYED = find("true", "augmentation"), find("true", "weight decay")


def _fits(ends: pd.DataFrame, row: Row) -> Claim:
    train, least = of(ends, row, "train_accuracy"), FITS[row.dropout, row.weight_decay]
    return Claim(
        name=f"fits random labels (regularizers: {row.regularizers})",
        sentence=f"The network fits {percent(train)} of random labels with its settings for true "
        "ones.",
        rule=f"A top-1 train accuracy of at least {least:.0%} {EVERY_SEED}.",
        verdict=verdict([bool(value >= least) for value in train]),
        paper=f"{row.train[0]:.2f}%",
        ours=percent(train),
    )


def _at_chance(ends: pd.DataFrame, scale: Scale) -> Claim:
    plan = PLANS[scale]
    chance = 1 / plan.classes
    room = STANDARD_ERRORS * (chance * (1 - chance) / plan.num_test) ** 0.5
    rows = [row for row in ROWS if row.labels == "random"]
    found = [of(ends, row, "test_accuracy") for row in rows]
    return Claim(
        name="nothing is learned from random labels",
        sentence="On the labels of the validation images, redrawn too, these networks have "
        f"{', '.join(percent(one) for one in found)}; chance is {chance:.2%}.",
        rule=f"Within {STANDARD_ERRORS:.0f} standard errors ({100 * room:.2f} points) of chance in "
        f"every row and {EVERY_SEED}.",
        verdict=_together([abs(one - chance) <= room for one in found]),
        paper=", ".join(f"{row.test[0]:.2f}%" for row in rows),
    )


def _generalizes(ends: pd.DataFrame) -> Claim:
    bare, full = (of(ends, row, "test_accuracy") for row in (NONE, ALL))
    share = (bare / full).dropna()
    return Claim(
        name="it generalizes without explicit regularizers",
        sentence=f"Without any, the test accuracy is {percent(bare)}; with all three "
        f"{percent(full)}.",
        rule=f"At least {SHARE:.0%} of the accuracy with all three {EVERY_SEED}.",
        verdict=verdict([bool(value >= SHARE) for value in share]),
        paper=f"{NONE.test[0]:.2f}% and {ALL.test[0]:.2f}%",
    )


def _augmentation(ends: pd.DataFrame) -> Claim:
    gain = (of(ends, AUGMENTED, "test_accuracy") - of(ends, DECAYED, "test_accuracy")).dropna()
    return Claim(
        name="augmentation does more than weight decay",
        sentence=f"Augmentation alone gives {points(gain)} more test accuracy than weight decay "
        "alone.",
        rule=f"More {EVERY_SEED}.",
        verdict=verdict([bool(value > 0) for value in gain]),
        paper=f"{AUGMENTED.test[0] - DECAYED.test[0]:.2f} points",
        ours=points(gain),
    )


def _all_together(ends: pd.DataFrame) -> Claim:
    gain = (of(ends, ALL, "test_accuracy") - of(ends, NONE, "test_accuracy")).dropna()
    return Claim(
        name="regularizers help",
        sentence=f"All three add {points(gain)} of test accuracy.",
        rule=f"At least 10 points {EVERY_SEED}.",
        verdict=verdict([bool(value >= 0.10) for value in gain]),
        paper=f"{ALL.test[0] - NONE.test[0]:.2f} points",
        ours=points(gain),
    )


def _stopping(ends: pd.DataFrame) -> Claim:
    bare, full = (
        of(ends, row, "best_test_accuracy") - of(ends, row, "test_accuracy") for row in (NONE, ALL)
    )
    assert NONE.best is not None
    return Claim(
        name="early stopping could help, without other regularizers",
        sentence=f"The best test accuracy on the way exceeds that at the end by {points(bare)} "
        f"without regularizers and by {points(full)} with all three.",
        rule=f"By at least 1 point without, and by more than with all three, {EVERY_SEED}.",
        verdict=verdict([
            bool(bare[seed] >= 0.01 and bare[seed] > full[seed])
            for seed in bare.dropna().index.intersection(full.dropna().index)
        ]),
        paper=f"{NONE.best[0] - NONE.test[0]:.2f} points without",
        ours=f"{Measured.of(100 * bare):.2f} and {points(full)}",
    )


def _together(holds: list[pd.Series]) -> Verdict:
    """Judge rows of which each must hold in every seed."""
    judged = [verdict([bool(value) for value in one]) for one in holds]
    if "not supported" in judged:
        return "not supported"
    return "supported" if set(judged) == {"supported"} else "inconclusive"
