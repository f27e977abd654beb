"""The claims of Chatterjee (2020), each with its rule, written before the trials were run.

A rule is asked once a seed: a claim is supported when it holds in every seed that ended, of at
least two, not supported when it fails in every one, and inconclusive otherwise.
"""

from dataclasses import replace
from itertools import pairwise

import pandas as pd

from gengap.auditing import EVERY_SEED, verdict
from gengap.report import Claim, Verdict

from ._chatterjee2020_numbers import FITTED, null_range
from ._chatterjee2020_trials import HALF, WORLDS
from ._gather import ENDED
from ._judging import percent, points, values

LOST, ABOVE, SLACK, BY_CHANCE = 0.15, 0.15, 0.01, 0.05


def claims(
    rows: pd.DataFrame, all_digits: pd.DataFrame, speeds: pd.DataFrame, shares: pd.DataFrame
) -> list[Claim]:
    """Return the claims, from `with_overfit` of both parts, `speeds` and `share_numbers`."""
    of_clipping = (_winsorized_does_not, _winsorized_ends_above, _some_c_does_both)
    on_all = [claim(all_digits) for claim in of_clipping]
    return [
        _sgd_memorizes(rows),
        *(claim(rows) for claim in of_clipping),
        _overfit_falls(rows),
        _large_c_hurts(rows),
        _speeds(speeds),
        _shares_cross(shares),
        _first_more_then_less(shares),
        *(replace(claim, name=f"{claim.name}, all digits") for claim in on_all if len(all_digits)),
    ]


def _sgd_memorizes(rows: pd.DataFrame) -> Claim:
    train, lost = (
        values(rows, column, noise=HALF, clip=0) for column in ("train_accuracy", "lost")
    )
    holds = [bool(train[seed] >= 1 and lost[seed] >= LOST) for seed in train.index]
    return Claim(
        name="SGD memorizes",
        sentence=f"With half of the labels redrawn SGD ends at a train accuracy of "
        f"{percent(train)} and {points(lost)} below its best test accuracy."
        if len(train)
        else "No run of SGD with half of the labels redrawn has ended.",
        rule=f"Train accuracy 100%, and the test accuracy at the end at least {100 * LOST:g} "
        f"points below the best on the way, {EVERY_SEED}.",
        verdict=verdict(holds),
        paper="fits all noisy labels",
        ours=f"{percent(train)}, {points(lost)}",
    )


def _clipped(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[(rows["clip"] >= 2) & rows["status"].isin(ENDED)]


def _winsorized_does_not(rows: pd.DataFrame) -> Claim:
    own = _clipped(rows)
    margin = (own["highest_train"] - own["proper"]).astype(float)
    worst = margin.groupby(own["seed"]).max()
    holds = (margin <= own["allowance"].astype(float)).groupby(own["seed"]).all()
    cells = own.groupby(["noise", "clip"]).ngroups
    return Claim(
        name="winsorized SGD does not memorize",
        sentence=f"With c of 2 and more, in {cells} pairs of noise level and c, the train accuracy "
        f"is at most {points(worst)} above the proper accuracy, at any epoch."
        if len(worst)
        else "No run with c of 2 or more has ended.",
        rule="In every such run the highest train accuracy of all epochs is at most the proper "
        "accuracy, and two standard deviations of the draw of the labels (1 point of 10,000, 0.4 "
        "of 60,000), "
        f"{EVERY_SEED}.",
        verdict=verdict([bool(value) for value in holds]),
        paper="c above 1 keeps the train accuracy from exceeding it",
        ours=points(worst),
    )


def _winsorized_ends_above(rows: pd.DataFrame) -> Claim:
    sgd = values(rows, "test_accuracy", noise=HALF, clip=0)
    clips = sorted(set(_clipped(rows)["clip"]))
    gains = {
        clip: (values(rows, "test_accuracy", noise=HALF, clip=clip) - sgd).dropna()
        for clip in clips
    }
    gains = {clip: gain for clip, gain in gains.items() if len(gain)}
    lowest = pd.concat(gains.values()).groupby(level=0).min() if gains else pd.Series(dtype=float)
    told = ", ".join(f"c = {clip} by {points(gain)}" for clip, gain in gains.items())
    return Claim(
        name="winsorized SGD ends above SGD",
        sentence="With half of the labels redrawn winsorized SGD ends above SGD in test accuracy: "
        f"{told or 'no pair of runs has ended'}.",
        rule=f"By at least {100 * ABOVE:g} points for every c of 2 and more {EVERY_SEED}.",
        verdict=verdict([bool(value >= ABOVE) for value in lowest]),
        ours=told,
    )


def _some_c_does_both(rows: pd.DataFrame) -> Claim:
    own = _clipped(rows)
    own, sgd = own[own["noise"] == HALF], values(rows, "test_accuracy", noise=HALF, clip=0)
    verdicts: dict[object, Verdict] = {}
    for clip, part in own.groupby("clip"):
        part = part[part["seed"].isin(sgd.index)].set_index("seed")
        kept = part["highest_train"] - part["proper"] <= part["allowance"]
        gains = part["test_accuracy"].astype(float) - sgd >= ABOVE
        verdicts[clip] = verdict([bool(value) for value in (kept & gains)[part.index]])
    good = [f"{clip}" for clip, found in verdicts.items() if found == "supported"]
    likeliest: tuple[Verdict, ...] = ("supported", "inconclusive", "not supported")
    told = f"c = {' and '.join(good)}" if good else "none that was run"
    return Claim(
        name="one c keeps SGD from memorizing",
        sentence="With half of the labels redrawn, the c with which winsorized SGD never passes "
        f"the proper accuracy and ends at least {100 * ABOVE:g} points above SGD: {told}."
        if verdicts
        else "No pair of runs has ended.",
        rule="With one c of 2 or more, the same for all seeds, the train accuracy stays at most "
        "the proper accuracy, as above, and the test accuracy ends at least "
        f"{100 * ABOVE:g} points above SGD's, {EVERY_SEED}.",
        verdict=next((v for v in likeliest if v in verdicts.values()), "inconclusive"),
        ours=told if verdicts else "",
    )


def _overfit_falls(rows: pd.DataFrame) -> Claim:
    half = rows[(rows["noise"] == HALF) & rows["status"].isin(ENDED)]
    wide = half.pivot_table(index="seed", columns="clip", values="overfit").dropna()
    seeds = wide.to_numpy().tolist() if len(wide.columns) > 1 else []
    holds = [all(b <= a + SLACK for a, b in pairwise(values)) for values in seeds]
    told = ", ".join(f"{points(wide[clip])} at c = {clip}" for clip in wide.columns)
    return Claim(
        name="overfit falls with c",
        sentence=f"With half of the labels redrawn the overfit is {told or 'not known yet'}.",
        rule="From every c to the next larger one the overfit at the end does not rise by more "
        f"than {100 * SLACK:g} point {EVERY_SEED} that has all c.",
        verdict=verdict(holds),
        paper="falls monotonically",
        ours=told,
    )


def _large_c_hurts(rows: pd.DataFrame) -> Claim:
    half = rows[(rows["noise"] == HALF) & rows["status"].isin(ENDED)]
    largest = int(half["clip"].max()) if len(half) else 0
    best = [values(rows, "best_test_accuracy", noise=HALF, clip=clip) for clip in (2, largest)]
    change = (best[1] - best[0]).dropna() if largest > 2 else pd.Series(dtype=float)
    return Claim(
        name="large c hurts the fit",
        sentence=f"With half of the labels redrawn the best test accuracy at c = {largest} "
        f"differs from that at c = 2 by {points(change)}."
        if len(change)
        else "No seed has both a small and a large c yet.",
        rule=f"Lower at the largest c than at c = 2 {EVERY_SEED}.",
        verdict=verdict([bool(value < 0) for value in change]),
        paper="large c hurts the fit",
        ours=points(change),
    )


def _speeds(speeds: pd.DataFrame) -> Claim:
    holds, told = [], ""
    if len(speeds):
        near = (speeds["pristine_to_0"] < speeds["pristine_to_100"]) & (
            speeds["corrupt_to_100"] < speeds["corrupt_to_0"]
        )
        holds = [bool(value) for value in near.groupby(speeds["seed"]).all()]
        told = (
            f"pristine {points(speeds['pristine_to_0'])} and {points(speeds['pristine_to_100'])}, "
            f"corrupt {points(speeds['corrupt_to_0'])} and {points(speeds['corrupt_to_100'])}"
        )
    return Claim(
        name="pristine examples are learned as without noise, corrupt ones as at 100 %",
        sentence="The curves' mean distance from those of the train accuracy at 0 % and at 100 % "
        f"noise: {told or 'no seed has all levels yet'}.",
        rule="Averaged over the epochs, the accuracy on pristine examples is nearer to the train "
        "accuracy without noise, that on corrupt ones nearer to the one at 100 % noise, at every "
        f"level between, {EVERY_SEED}.",
        verdict=verdict(holds),
        paper="pristine as at 0 %, corrupt as at 100 %",
        ours=told,
    )


def _shares_cross(shares: pd.DataFrame) -> Claim:
    """Return the claim on half noise; what happens at the other levels is told."""
    holds, told = [], ""
    if len(shares):
        half = shares[shares["noise"] == HALF]
        kept = half["crosses"] & (half["null_crosses"] <= BY_CHANCE)
        holds = [bool(value) for value in kept.groupby(half["seed"]).all()]
        told = "; ".join(
            f"at {noise:.0%} noise in {part['crosses'].sum()} of {len(part)} runs and in "
            f"{percent(part['null_crosses'])} of the null worlds"
            for noise, part in shares.groupby("noise")
        )
    return Claim(
        name="the pristine share crosses the corrupt one",
        sentence="The pristine examples have most of the gradient early and not while labels are "
        f"memorized {told or 'in no run that has ended'}.",
        rule="With half of the labels redrawn their mean share is above a half over steps 1 to 25 "
        f"and below it while the train accuracy goes from the proper accuracy to {FITTED:.0%}, and "
        f"the same is true of at most {BY_CHANCE:.0%} of {WORLDS} null worlds, {EVERY_SEED}.",
        verdict=verdict(holds),
        paper="a crossing, and none in null worlds (weak at 75 %)",
        ours=told,
    )


def _first_more_then_less(shares: pd.DataFrame) -> Claim:
    holds, told = [], ""
    if len(shares):
        up = shares["early"] > [high for _, high in shares["null_early"]]
        down = shares["late"] < [low for low, _ in shares["null_late"]]
        holds = [bool(value) for value in (up & down).groupby(shares["seed"]).all()]
        told = "; ".join(
            f"{noise:.0%} noise ({part['pristine'].mean():.0%} pristine): "
            f"{percent(part['early'])} early, where null worlds have "
            f"{null_range(part, 'null_early')}, and {percent(part['late'])} late, "
            f"where they have {null_range(part, 'null_late')}"
            for noise, part in shares.groupby("noise")
        )
    return Claim(
        name="the gradient passes from the pristine to the corrupt",
        sentence=f"Share of the gradient that the pristine examples have: {told or 'not known'}.",
        rule=f"Over steps 1 to 25 their mean share is above that in every one of {WORLDS} null "
        "worlds, and below it while the train accuracy goes from the proper accuracy to "
        f"{FITTED:.0%}, at every noise level between 0 and 100 %, {EVERY_SEED}.",
        verdict=verdict(holds),
        paper="starts near 70 %, then the corrupt dominate",
        ours=told,
    )
