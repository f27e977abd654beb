"""The claims on expressivity, each with its rule, written before the run."""

import math
from collections.abc import Iterator

import pandas as pd

from gengap.auditing import EVERY_SEED, verdict
from gengap.report import Claim, Measured

from ._zhang2017_expressivity_numbers import Numbers

EXACT, STEEP, NO_BETTER, WORSE = 1e-6, 1.3, 0.3, 10.0
_TIMED_FROM = 10_000


def claims(numbers: Numbers) -> list[Claim]:
    """Return the claims, from what was measured."""
    return [
        *_images(numbers.images),
        _sizes(numbers.sizes),
        _depths(numbers.depths),
        _time(numbers.sizes),
        *_true_labels(numbers.images),
        _places(numbers.places),
    ]


def _fits(rows: pd.DataFrame) -> pd.Series:
    """Return whether every label is right, the error small and the weights 2n + d."""
    counted = rows["weights"] == 2 * rows["n"] + rows["d"]
    return (rows["wrong"] == 0) & (rows["error"] <= EXACT) & counted


def _by_seed(rows: pd.DataFrame, holds: pd.Series) -> list[bool]:
    return [bool(value) for value in holds.groupby(rows["seed"]).all()]


def _images(images: pd.DataFrame) -> Iterator[Claim]:
    for name in images["data"].unique():
        own = images[(images["data"] == name) & (images["labels"] == "random")]
        n, d = (int(own[column].iloc[0]) for column in ("n", "d"))
        yield Claim(
            name=f"2n + d weights fit random labels ({name})",
            sentence=f"A two-layer ReLU network of {2 * n + d:,} weights gives every one of {n:,} "
            f"images of {name} its random label, to {own['error'].max():.1e}.",
            rule=f"No label wrong, 2n + d weights, error at most {EXACT:g}, {EVERY_SEED}.",
            verdict=verdict(_by_seed(own, _fits(own))),
            paper="2n + d weights represent any function of n points (theorem 1)",
            ours=f"{2 * n + d:,} weights, error {own['error'].max():.1e}",
        )


def _sizes(sizes: pd.DataFrame) -> Claim:
    largest = f"{int(sizes['n'].max()):,}" if len(sizes) else "no"
    error = f"{sizes['error'].max():.1e}" if len(sizes) else "–"
    return Claim(
        name="at any size",
        sentence=f"So it is for random points, up to {largest} of them: the largest error is "
        f"{error}.",
        rule=f"No label wrong, 2n + d weights, error at most {EXACT:g} at every size, "
        f"{EVERY_SEED}.",
        verdict=verdict(_by_seed(sizes, _fits(sizes))),
        paper="any n and d",
        ours=error,
    )


def _depths(depths: pd.DataFrame) -> Claim:
    extra = depths["weights"] - 2 * depths["n"] - depths["d"]
    narrow = depths["width"] <= (depths["n"] / (depths["depth"] - 1)).map(math.ceil) + 3
    fits = (depths["wrong"] == 0) & (depths["error"] <= EXACT)
    holds = fits & narrow & (extra <= 2 * depths["depth"])
    most = int(depths["depth"].max()) if len(depths) else 0
    width = int(depths["width"].min()) if len(depths) else 0
    return Claim(
        name="deeper is narrower, with as many weights",
        sentence=f"At depth {most} a width of {width:,} is enough for the same labels, with "
        f"{int(extra.max()) if len(extra) else 0} weights more.",
        rule=f"At every depth k no label wrong, error at most {EXACT:g}, width at most n / (k - 1) "
        f"+ 3 and at most 2k weights more than 2n + d, {EVERY_SEED}.",
        verdict=verdict(_by_seed(depths, holds)),
        paper="width O(n / k), O(n + d) weights (corollary 1)",
        ours=f"width {width:,}",
    )


def _time(sizes: pd.DataFrame) -> Claim:
    large = sizes[sizes["n"] >= _TIMED_FROM]
    exponents = []
    for _, own in large.groupby("seed"):
        times = own.groupby("n")["make_seconds"].mean()
        if len(times) > 1:
            span = math.log(times.index[-1] / times.index[0])
            exponents.append(math.log(times.iloc[-1] / times.iloc[0]) / span)
    value = f"{Measured.of(pd.Series(exponents, dtype=float)):.2f}"
    return Claim(
        name="in almost linear time",
        sentence=f"From {_TIMED_FROM:,} points to the most, the time to construct grows as n to "
        f"the {value}.",
        rule=f"An exponent of at most {STEEP:g} {EVERY_SEED}.",
        verdict=verdict([exponent <= STEEP for exponent in exponents]),
        ours=f"exponent {value}",
    )


def _true_labels(images: pd.DataFrame) -> Iterator[Claim]:
    for name in images["data"].unique():
        own = images[(images["data"] == name) & (images["labels"] == "true")]
        test = f"{Measured.of(100 * own['test_accuracy'].astype(float)):.1f}%"
        holds = (own["wrong"] == 0) & (own["test_accuracy"].astype(float) <= NO_BETTER)
        yield Claim(
            name=f"to express is not to generalize ({name})",
            sentence=f"With the true labels of {name} the same network is right on every training "
            f"image and on {test} of the test images.",
            rule=f"No training label wrong and a test accuracy of at most {NO_BETTER:.0%} "
            f"{EVERY_SEED}.",
            verdict=verdict(_by_seed(own, holds)),
            ours=test,
        )


def _places(places: pd.DataFrame) -> Claim:
    most = int(places["n"].max()) if len(places) else 0
    own = places[places["n"] == most].pivot(index="seed", columns="place", values="error")
    ratio = own[0.5] / own[0.0] if len(own) else pd.Series(dtype=float)
    value = f"{Measured.of(ratio.astype(float)):.3g}"
    return Claim(
        name="thresholds midway lose digits",
        sentence=f"At n = {most:,} a triangular solve with thresholds midway between "
        f"neighbours misses by {value} times as much as with thresholds at the lower neighbour.",
        rule=f"At least {WORSE:g} times {EVERY_SEED}.",
        verdict=verdict([bool(one >= WORSE) for one in ratio]),
        paper="any thresholds between neighbours (lemma 1)",
        ours=f"{value} times",
    )
