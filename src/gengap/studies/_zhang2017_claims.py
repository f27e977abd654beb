"""The claims of Zhang et al. (2017), each with its rule, written before the trials were run.

A rule is asked once a seed. A network is judged when at least two of its seeds have ended; a claim
is supported when it holds in every seed of every network judged, not supported when it fails in
every seed of one, and inconclusive otherwise. A run that diverged has ended and fits nothing.
"""

import functools
from collections.abc import Callable, Sequence

import pandas as pd

from gengap.auditing import verdict
from gengap.models import parameters_per_example
from gengap.report import Claim, Verdict

from ._judging import JUDGED, each, percent, points, pooled, values
from ._zhang2017_figure_claims import figure_claims
from ._zhang2017_select import networks, of_row, rows_of
from ._zhang2017_trials import ROWS, Row, Scale

PARAMETERS = {
    "Inception": 1_649_402,
    "Inception w/o BatchNorm": 1_649_402,
    "Alexnet": 1_387_786,
    "MLP 3x512": 1_735_178,
    "MLP 1x512": 1_209_866,
}
"""The paper's numbers of parameters (table 1)."""

FITS = {"MLP 1x512": 0.99, "MLP 3x512": 0.999}
"""Train accuracy from which a network counts as fitting random labels; 99.5 % for the others."""

TRAIN_POINTS, TEST_POINTS = 0.5, 2.5
"""How far ours may lie from the paper's, in percentage points: below it, and on either side."""


def claims(ends: pd.DataFrame, scale: Scale) -> list[Claim]:
    """Return the claims that the trials of a scale can decide, from one row a trial."""
    found = [
        *[_fits(ends, name) for name in networks(scale, labels="random")],
        _at_chance(ends, scale),
        _true_labels(ends, scale),
        _test_accuracy(ends, scale),
        _not_decisive(ends, scale, "weight decay", 2.5, paper="-0.12 to 1.29 points"),
        _not_decisive(ends, scale, "crop", 5.0, paper="3.56 and 3.59 points"),
        _decay_still_fits(ends, scale),
        _alexnet_with_decay(ends, scale),
        _augmented_still_fits(ends, scale),
        *figure_claims(ends, scale),
        _parameter_counts(),
    ]
    return [claim for claim in found if claim is not None]


def on_all_of_cifar(row: Row, scale: Scale) -> bool:
    """Return whether a row trains on the paper's 50,000 images, so that tests compare."""
    return scale == "paper" or (scale == "small" and not row.convolutional)


def agreement(ends: pd.DataFrame, row: Row, scale: Scale) -> Verdict:
    """Return the verdict of a row: train accuracy reaches the paper's, test accuracy is near it."""
    train, test = of_row(ends, row, "train_accuracy"), of_row(ends, row, "test_accuracy")
    if row.train is None:
        return verdict([bool(value < 0.99) for value in train])
    holds = [bool(100 * value >= row.train - TRAIN_POINTS) for value in train]
    if row.test is not None and on_all_of_cifar(row, scale):
        near = [bool(abs(100 * value - row.test) <= TEST_POINTS) for value in test]
        holds = [a and b for a, b in zip(holds, near, strict=True)]
    return verdict(holds)


def _fits(ends: pd.DataFrame, network: str) -> Claim:
    (row,) = (r for r in ROWS if r.table == 1 and r.name == network and r.labels == "random")
    train = of_row(ends, row, "train_accuracy")
    least = FITS.get(network, 0.995)
    decided = verdict([bool(value >= least) for value in train])
    said = {
        "supported": "fits random labels",
        "not supported": "does not fit random labels under this recipe",
        "inconclusive": "cannot be judged on random labels",
    }[decided]
    numbers = f"train accuracy {percent(train)} in {len(train)} seed{'s'[: len(train) != 1]}"
    return Claim(
        name=f"{network} fits random labels",
        sentence=f"{network} {said}: {numbers if len(train) else 'no run has ended'}.",
        rule=f"Train accuracy on random labels at least {least:.1%} in every seed, of at least "
        "two.",
        verdict=decided,
        paper=f"{row.train:.2f}%",
        ours=percent(train),
    )


def _at_chance(ends: pd.DataFrame, scale: Scale) -> Claim:
    near = 0.05 if scale == "smoke" else 0.02
    rows = rows_of(scale, labels="random")
    test = {row.name: of_row(ends, row, "test_accuracy") for row in rows}
    asked = {name: [bool(abs(v - 0.1) <= near) for v in some] for name, some in test.items()}
    decided, lone = pooled(asked)
    ours = each(test, percent)
    return Claim(
        name="random labels teach nothing",
        sentence=f"After training on random labels the test accuracy is {ours}; chance is 10%."
        + lone,
        rule=f"Test accuracy within {100 * near:g} points of 10% {JUDGED}.",
        verdict=decided,
        paper="9.78 to 10.61%",
        ours=ours,
    )


def _by_seed(
    ends: pd.DataFrame, rows: Sequence[Row], holds: Callable[[Row, float], bool], column: str
) -> dict[str, list[bool]]:
    """Ask every row of a network in each seed; a seed counts once all its rows have ended."""
    asked: dict[str, list[bool]] = {}
    for name in dict.fromkeys(row.name for row in rows):
        own = [row for row in rows if row.name == name]
        ended = pd.DataFrame({ROWS.index(row): of_row(ends, row, column) for row in own})
        seeds = set.intersection(*(set(of_row(ends, row, column).index) for row in own))
        asked[name] = [
            all(holds(row, float(ended.loc[seed, ROWS.index(row)])) for row in own)
            for seed in sorted(seeds)
        ]
    return asked


def _true_labels(ends: pd.DataFrame, scale: Scale) -> Claim:
    rows = rows_of(scale, labels="true")

    def holds(row: Row, value: float) -> bool:
        return 100 * value >= (row.train or 0.0) - TRAIN_POINTS

    decided, lone = pooled(_by_seed(ends, rows, holds, "train_accuracy"))
    bare = [row for row in rows if not row.weight_decay and row.augmentation is None]
    ours = each({row.name: of_row(ends, row, "train_accuracy") for row in bare}, percent)
    return Claim(
        name="true labels are fitted",
        sentence=f"On true labels, without regularizers, the train accuracy is {ours}." + lone,
        rule=f"Train accuracy at least the paper's less {TRAIN_POINTS} point, in all rows of table "
        f"1 with true labels, {JUDGED}.",
        verdict=decided,
        paper="99.80 to 100%",
        ours=ours,
    )


def _test_accuracy(ends: pd.DataFrame, scale: Scale) -> Claim | None:
    rows = [row for row in rows_of(scale, labels="true") if on_all_of_cifar(row, scale)]
    if not rows:
        return None

    def holds(row: Row, value: float) -> bool:
        return abs(100 * value - (row.test or 0.0)) <= TEST_POINTS

    decided, lone = pooled(_by_seed(ends, rows, holds, "test_accuracy"))
    bare = [row for row in rows if not row.weight_decay and row.augmentation is None]
    ours = each({row.name: of_row(ends, row, "test_accuracy") for row in bare}, percent)
    return Claim(
        name="test accuracy is the paper's",
        sentence=f"On true labels, without regularizers, the test accuracy is {ours}." + lone,
        rule=f"Test accuracy within {TEST_POINTS} points of the paper's, in all rows of table 1 "
        f"with true labels trained on all 50,000 images, {JUDGED}.",
        verdict=decided,
        paper=", ".join(f"{row.name} {row.test:.2f}%" for row in bare),
        ours=ours,
    )


def _changes(ends: pd.DataFrame, scale: Scale, what: str) -> dict[str, pd.Series]:
    """Return by network and seed what a regularizer adds to the test accuracy on true labels."""
    on = {"weight decay": (True, None), "crop": (False, "crop")}[what]
    found = {}
    for row in rows_of(scale, labels="true"):
        if (row.weight_decay, row.augmentation) == on:
            pair = {"network": row.name, "table": 1, "labels": "true", "weight_decay": False}
            bare = values(ends, "test_accuracy", augmentation="", **pair)
            found[row.name] = (of_row(ends, row, "test_accuracy") - bare).dropna()
    return found


def _not_decisive(
    ends: pd.DataFrame, scale: Scale, what: str, most: float, *, paper: str
) -> Claim | None:
    changes = _changes(ends, scale, what)
    if not changes:
        return None
    asked = {n: [bool(100 * abs(v) <= most) for v in some] for n, some in changes.items()}
    decided, lone = pooled(asked)
    ours = each(changes, points)
    name = {"weight decay": "weight decay", "crop": "random cropping"}[what]
    return Claim(
        name=f"{name} is not decisive",
        sentence=f"On true labels {name} changes the test accuracy by: {ours}." + lone,
        rule=f"Test accuracy with and without it, seed by seed, differs by at most {most:g} points "
        f"{JUDGED}.",
        verdict=decided,
        paper=paper,
        ours=ours,
    )


def _decay_still_fits(ends: pd.DataFrame, scale: Scale) -> Claim | None:
    rows = [r for r in rows_of(scale, table=4, weight_decay=True) if r.train is not None]
    return _regularized_fits(ends, rows, "weight decay", "99.21 to 100%")


def _augmented_still_fits(ends: pd.DataFrame, scale: Scale) -> Claim | None:
    rows = [row for row in rows_of(scale, table=4) if row.augmentation is not None]
    return _regularized_fits(ends, rows, "data augmentation", "99.28 to 99.93%")


def _regularized_fits(
    ends: pd.DataFrame, rows: Sequence[Row], what: str, paper: str
) -> Claim | None:
    if not rows:
        return None
    decided, lone = pooled(_by_seed(ends, rows, lambda row, value: value >= 0.99, "train_accuracy"))
    train = {
        f"{row.name} ({row.augmentation})" if row.augmentation else row.name: of_row(
            ends, row, "train_accuracy"
        )
        for row in rows
    }
    ours = each(train, percent)
    return Claim(
        name=f"random labels are fitted with {what}",
        sentence=f"With {what} the train accuracy on random labels is {ours}." + lone,
        rule=f"Train accuracy on random labels at least 99% {JUDGED}.",
        verdict=decided,
        paper=paper,
        ours=ours,
    )


def _alexnet_with_decay(ends: pd.DataFrame, scale: Scale) -> Claim | None:
    rows = [row for row in rows_of(scale, table=4) if row.train is None]
    if not rows:
        return None
    train = of_row(ends, rows[0], "train_accuracy")
    return Claim(
        name="Alexnet with weight decay does not fit random labels",
        sentence=f"With weight decay Alexnet's train accuracy on random labels is "
        f"{percent(train) if len(train) else 'not known: no run has ended'}.",
        rule="Train accuracy on random labels below 99% in every seed, of at least two.",
        verdict=verdict([not value >= 0.99 for value in train]),
        paper="failed to converge",
        ours=percent(train),
    )


@functools.cache
def _counted() -> pd.DataFrame:
    found = parameters_per_example()
    return found[found["data"] == "CIFAR-10"]


def parameters() -> pd.DataFrame:
    """Return the networks' numbers of parameters, the paper's and ours, and p/n."""
    names = {"Inception without BatchNorm": "Inception w/o BatchNorm", "AlexNet (small)": "Alexnet"}
    own = _counted().replace({"model": names})
    return own.assign(paper=own["model"].map(PARAMETERS)).reset_index(drop=True)


def _parameter_counts() -> Claim:
    table = parameters()
    same = table["paper"] == table["parameters"]
    low, high = table["parameters_per_example"].min(), table["parameters_per_example"].max()
    return Claim(
        name="parameters are the paper's",
        sentence=f"{same.sum()} of {len(table)} networks have exactly the paper's number of "
        f"parameters: {low:.1f} to {high:.1f} for each of the 50,000 training images.",
        rule="All counts are equal; counted, not estimated, so no seeds are needed.",
        verdict="supported" if same.all() else "not supported",
        paper=", ".join(f"{count:,}" for count in dict.fromkeys(table["paper"])),
        ours=", ".join(f"{count:,}" for count in dict.fromkeys(table["parameters"])),
    )
