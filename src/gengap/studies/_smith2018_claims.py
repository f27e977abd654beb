"""The claims of Smith and Le (2018), each with its rule, written before the trials."""

import math

import pandas as pd

from gengap.auditing import EVERY_SEED, verdict
from gengap.report import Claim, Measured, Verdict

from ._judging import percent
from ._smith2018_numbers import slope
from ._smith2018_trials import Scale, sweeps

NAT, DECADES, FITTED, CHANCE, RIGHT = 1.0, 2.0, 0.99, 0.05, {"smoke": 0.97}
NEAR, BETTER = 1.5, 0.001


def claims(evidence: pd.DataFrame, optima: pd.DataFrame, scale: Scale) -> list[Claim]:
    """Return the claims, from the numbers of the study."""
    return [
        _memorized(evidence, 0.1 if scale == "smoke" else CHANCE),
        _learned(evidence, RIGHT.get(scale, 0.99)),
        _null(evidence),
        _preferred(evidence),
        *([] if scale == "smoke" else [_follows(evidence)]),
        _margin(evidence),
        _peak(optima),
        *[_proportional(optima, what) for what in sweeps(scale)],
    ]


def _seeds(evidence: pd.DataFrame, labels: str) -> dict[int, pd.DataFrame]:
    own = evidence[evidence["labels"] == labels].astype({"log_ratio": float})
    return {seed: own[own["seed"] == seed].set_index("precision") for seed in set(own["seed"])}


def _least(evidence: pd.DataFrame, labels: str) -> pd.DataFrame:
    """Return the rows of the lowest precision, one a seed."""
    own = evidence[evidence["labels"] == labels]
    return own[own["precision"] == own["precision"].min()]


def _memorized(evidence: pd.DataFrame, chance: float) -> Claim:
    rows = _least(evidence, "random")
    train, test = rows["train_accuracy"], rows["test_accuracy"]
    holds = (train >= FITTED) & ((test - 0.5).abs() <= chance)
    return Claim(
        name="a linear model memorizes random labels",
        sentence=f"With the weakest prior it has {percent(train)} of the random training labels "
        f"right, and {percent(test)} of the random test labels.",
        rule=f"At least {FITTED:.0%} of the training labels, and within {100 * chance:g} points "
        f"of 50 % of the test labels, {EVERY_SEED}.",
        verdict=verdict(list(map(bool, holds))),
        paper="100 % and about 50 %",
        ours=f"{percent(train)} and {percent(test)}",
    )


def _learned(evidence: pd.DataFrame, right: float) -> Claim:
    best = pd.Series(
        {seed: p["test_accuracy"].max() for seed, p in _seeds(evidence, "informative").items()},
        dtype=float,
    )
    return Claim(
        name="the same model learns informative labels",
        sentence=f"With the best prior its test accuracy is {percent(best)}.",
        rule=f"At least {right:.0%} {EVERY_SEED}.",
        verdict=verdict([bool(value >= right) for value in best]),
        paper="above 99 %",
        ours=percent(best),
    )


def _null(evidence: pd.DataFrame) -> Claim:
    highest = pd.Series(
        {seed: part["log_ratio"].max() for seed, part in _seeds(evidence, "random").items()},
        dtype=float,
    )
    return Claim(
        name="on random labels the evidence never prefers the model",
        sentence="The highest log evidence of the model over that of the null model, over all "
        f"priors, is {_nats(highest)}; above 0 the model would be preferred.",
        rule=f"At most {NAT:g} nat at every precision {EVERY_SEED}: less is no preference.",
        verdict=verdict([bool(value <= NAT) for value in highest]),
        paper="the null model is preferred at every precision",
        ours=_nats(highest),
    )


def _preferred(evidence: pd.DataFrame) -> Claim:
    width, best = {}, {}
    for seed, part in _seeds(evidence, "informative").items():
        liked = part.index[part["log_ratio"] > NAT].to_numpy(float)
        width[seed] = math.log10(liked.max() / liked.min()) if len(liked) else 0.0
        best[seed] = part["log_ratio"].max()
    decades, highest = pd.Series(width, dtype=float), pd.Series(best, dtype=float)
    return Claim(
        name="on informative labels it prefers the model over a range of priors",
        sentence=f"The model is preferred over {Measured.of(decades):.1f} decades of precision; at "
        f"best its log evidence is {_nats(highest)} above that of the null model.",
        rule=f"By more than {NAT:g} nat over at least {DECADES:g} decades {EVERY_SEED}.",
        verdict=verdict([bool(value >= DECADES) for value in decades]),
        paper="preferred over a broad range",
        ours=f"{Measured.of(decades):.1f} decades, {_nats(highest)}",
    )


def _follows(evidence: pd.DataFrame) -> Claim:
    times = pd.Series(
        {
            seed: part["test_loss"].iloc[part["log_ratio"].argmax()] / part["test_loss"].min()
            for seed, part in _seeds(evidence, "informative").items()
        },
        dtype=float,
    )
    return Claim(
        name="the prior of highest evidence is nearly the best one",
        sentence="On informative labels the test cross entropy at the precision of highest "
        f"evidence is {Measured.of(times):.2f} times the lowest of the sweep.",
        rule=f"At most {NEAR:g} times {EVERY_SEED}.",
        verdict=verdict([bool(value <= NEAR) for value in times]),
        paper="the evidence follows the test cross entropy",
        ours=f"{Measured.of(times):.2f} times",
    )


def _margin(evidence: pd.DataFrame) -> Claim:
    true, random = (
        _least(evidence, labels).set_index("seed")["margin"].astype(float)
        for labels in ("informative", "random")
    )
    ratio = (true / random).dropna()
    return Claim(
        name="informative labels have the larger margin",
        sentence="With the weakest prior the mean distance of training images from the boundary "
        f"is {Measured.of(ratio):.2f} times as large on informative labels as on random ones.",
        rule=f"Larger {EVERY_SEED}.",
        verdict=verdict([bool(value > 1) for value in ratio]),
        paper="about 1.5 times, at its own prior",
        ours=f"{Measured.of(ratio):.2f} times",
    )


def _peak(optima: pd.DataFrame) -> Claim:
    own = optima.drop_duplicates("sweep")
    above = own["accuracy"] - own["largest"]
    inside = own["interior"].astype(bool)
    held = [bool(i and a >= BETTER) for i, a in zip(inside, above, strict=True)]
    said = f"{sum(held)} of {len(held)} sweeps; {100 * above.min():.2f} to {100 * above.max():.2f}"
    told = f"{said} points above the largest batch" if len(held) else "no sweep has ended"
    decided: Verdict = "inconclusive"
    if len(held) > 1 and bool(own["standard_error"].notna().all()):
        share = sum(held) / len(held)
        decided = "supported" if share == 1 else "not supported" if share < 0.5 else decided
    return Claim(
        name="there is an optimum batch size",
        sentence=f"Mean test accuracy has its peak inside the sweep of batch sizes: {told}.",
        rule=f"In every sweep, of at least two, inside of it and at least {100 * BETTER:g} points "
        "above the largest batch; not supported where fewer than half do so, with at least two "
        "seeds.",
        verdict=decided,
        paper="a peak in test accuracy at every learning rate",
        ours=told,
    )


def _proportional(optima: pd.DataFrame, what: str) -> Claim:
    value, error = slope(optima, what)
    part = optima[optima["what"] == what]
    sizes = ", ".join(
        f"{row['optimum']:.0f} at {row['value']:g}" for row in part.to_dict("records")
    )
    told = "–" if math.isnan(value) else f"{value:.2f} ± {error:.2f}"
    decided: Verdict = "inconclusive"
    if not math.isnan(error):
        if value - 2 * error > 0 and abs(value - 1) <= max(2 * error, 0.5):
            decided = "supported"
        elif value + 2 * error <= 0 or value - 2 * error > 1.5 or value + 2 * error < 0.5:
            decided = "not supported"
    return Claim(
        name=f"the optimum batch size grows with {what}",
        sentence=f"Optimum batch sizes: {sizes or 'none yet'}; slope of logarithms {told}.",
        rule="The slope, over the optima inside their sweeps, is above 0 by two standard errors, "
        "and within 0.5 or two standard errors of 1; not supported where two standard errors "
        "exclude all slopes from 0.5 to 1.5, or above 0.",
        verdict=decided,
        paper="proportional: a slope of 1",
        ours=told,
    )


def _nats(values: pd.Series) -> str:
    return f"{Measured.of(values):.1f} nats"
