"""The claims of Keskar et al. (2017), each with its rule, written before the trials.

A rule is asked once a seed: a claim is supported when it holds in every seed that ended, of at
least two, not supported when it fails in every one, and inconclusive otherwise.
"""

from collections.abc import Sequence

import pandas as pd

from gengap.auditing import EVERY_SEED, verdict
from gengap.report import Claim, Measured

from ._judging import percent, points, values
from ._keskar2017_numbers import EPSILONS, FULL, Numbers
from ._keskar2017_trials import LARGE, SMALL, Network

FITTED, NEAREST, FARTHEST, BEYOND = 0.99, 3.0, 10.0, 0.25

# Tables 2, 3 and 4: accuracies in percent, sharpness by (epsilon, full space).
ACCURACIES = {
    "F1": {"train": {SMALL: 99.66, LARGE: 99.92}, "test": {SMALL: 98.03, LARGE: 97.81}},
    "C1": {"train": {SMALL: 99.89, LARGE: 99.66}, "test": {SMALL: 80.04, LARGE: 77.26}},
}
SHARPNESS = {
    ("F1", 1e-3, True): {SMALL: 1.23, LARGE: 205.14},
    ("F1", 5e-4, True): {SMALL: 0.61, LARGE: 42.90},
    ("F1", 1e-3, False): {SMALL: 0.11, LARGE: 9.22},
    ("F1", 5e-4, False): {SMALL: 0.05, LARGE: 9.17},
    ("C1", 1e-3, True): {SMALL: 28.58, LARGE: 707.23},
    ("C1", 5e-4, True): {SMALL: 7.08, LARGE: 227.31},
    ("C1", 1e-3, False): {SMALL: 2.18, LARGE: 137.25},
    ("C1", 5e-4, False): {SMALL: 0.71, LARGE: 29.50},
}


def claims(ends: pd.DataFrame, numbers: Numbers, networks: Sequence[Network]) -> list[Claim]:
    """Return the claims, from what became of the trials and what was measured of them.

    Nothing is claimed of a network, or of warm starts, of which no run has ended.
    """
    found = []
    for network in networks:
        if values(ends, "train_accuracy", network=network.name).empty:
            continue
        found += [_fitted(ends, network.name), _order(ends, network.name)]
        spaces = numbers.sharpness[numbers.sharpness["network"] == network.name]["space"].unique()
        for space in spaces:
            found += [_sharper(numbers.sharpness, network.name, e, space) for e in EPSILONS]
        found += [_farther(numbers.distances, network.name), _rises(numbers.paths, network.name)]
        if not values(ends, "train_accuracy", network=network.name, part="warm").empty:
            found.append(_warm(ends, numbers.sharpness, network))
    return found


def sharpness_of(sharpness: pd.DataFrame, **where: object) -> pd.Series:
    """Return values of sharpness by seed, where other columns have given values."""
    rows = sharpness
    for name, value in where.items():
        rows = rows[rows[name] == value]
    return rows.set_index("seed")["value"].astype(float)


def _regimes(ends: pd.DataFrame, network: str, column: str) -> tuple[pd.Series, pd.Series]:
    small, large = (
        values(ends, column, part="regimes", network=network, regime=regime)
        for regime in (SMALL, LARGE)
    )
    return small, large


def _fitted(ends: pd.DataFrame, network: str) -> Claim:
    small, large = _regimes(ends, network, "train_accuracy")
    both = pd.concat([small, large], axis=1).dropna().min(axis=1)
    paper = ACCURACIES.get(network, {}).get("train")
    return Claim(
        name=f"both batch sizes fit the training data ({network})",
        sentence=f"{network}'s train accuracy is {percent(small)} with small and {percent(large)} "
        "with large batches.",
        rule=f"At least {FITTED:.0%} with both {EVERY_SEED}.",
        verdict=verdict([bool(value >= FITTED) for value in both]),
        paper=f"{paper[SMALL]:.2f} and {paper[LARGE]:.2f}%" if paper else "",
        ours=f"{percent(small)} and {percent(large)}",
    )


def _order(ends: pd.DataFrame, network: str) -> Claim:
    small, large = _regimes(ends, network, "test_accuracy")
    lead = (small - large).dropna()
    paper = ACCURACIES.get(network, {}).get("test")
    return Claim(
        name=f"small batches generalize better ({network})",
        sentence=f"{network}'s test accuracy is {percent(small)} with small and {percent(large)} "
        f"with large batches, a lead of {points(lead)} of the small ones.",
        rule=f"Higher with small batches {EVERY_SEED}.",
        verdict=verdict([bool(value > 0) for value in lead]),
        paper=f"{paper[SMALL]:.2f} and {paper[LARGE]:.2f}%" if paper else "",
        ours=f"{percent(small)} and {percent(large)}",
    )


def _sharper(sharpness: pd.DataFrame, network: str, epsilon: float, space: str) -> Claim:
    where = {"part": "regimes", "network": network, "epsilon": epsilon, "space": space}
    small, large = (sharpness_of(sharpness, **where, regime=r) for r in (SMALL, LARGE))
    holds = [bool(large[seed] > small[seed]) for seed in small.index.intersection(large.index)]
    decided = verdict(holds)
    apart = bool(large.mean() - large.std() > small.mean() + small.std())
    paper = SHARPNESS.get((network, epsilon, space == FULL))
    ours = f"{Measured.of(small):.2f} and {Measured.of(large):.2f}"
    return Claim(
        name=f"large batches end sharper ({network}, {space}, ε = {epsilon:g})",
        sentence=f"The sharpness of {network}'s minimum is {ours} with small and large batches.",
        rule=f"Larger with large batches {EVERY_SEED}, and the intervals of one standard "
        "deviation do not meet.",
        verdict="inconclusive" if decided == "supported" and not apart else decided,
        paper=f"{paper[SMALL]:g} and {paper[LARGE]:g}" if paper else "",
        ours=ours,
    )


def _farther(distances: pd.DataFrame, network: str) -> Claim:
    own = distances[distances["network"] == network]
    small, large = (
        own[own["regime"] == regime].set_index("seed")["distance"].astype(float)
        for regime in (SMALL, LARGE)
    )
    ratio = (small / large).dropna()
    return Claim(
        name=f"small batches go farther ({network})",
        sentence=f"With small batches {network} ends {Measured.of(ratio):.1f} times as far from "
        "its starting weights as with large ones.",
        rule=f"Between {NEAREST:g} and {FARTHEST:g} times {EVERY_SEED}.",
        verdict=verdict([bool(NEAREST <= value <= FARTHEST) for value in ratio]),
        paper="3 to 10 times",
        ours=f"{Measured.of(ratio):.1f} times",
    )


def _rises(paths: pd.DataFrame, network: str) -> Claim:
    own = paths[
        (paths["network"] == network) & (paths["kind"] == "line") & (paths["half"] == "train")
    ]
    risen = {}
    for at, end in ((-BEYOND, 0.0), (1 + BEYOND, 1.0)):
        away, here = (own[(own["alpha"] - x).abs() < 1e-9].set_index("seed") for x in (at, end))
        risen[end] = (away["loss"] - here["loss"]).astype(float)
    holds = [bool(risen[1.0][seed] > risen[0.0][seed]) for seed in risen[0.0].dropna().index]
    ours = f"{Measured.of(risen[1.0]):.3f} and {Measured.of(risen[0.0]):.3f}"
    return Claim(
        name=f"the line between them rises faster beyond the large batch's end ({network})",
        sentence=f"A quarter of the way between the minima beyond the large-batch one, and beyond "
        f"the small-batch one, the training loss has risen by {ours}.",
        rule=f"By more beyond the large-batch minimum {EVERY_SEED}.",
        verdict=verdict(holds),
        paper="the large-batch minimum is strikingly sharper (figure 3)",
        ours=ours,
    )


def _warm(ends: pd.DataFrame, sharpness: pd.DataFrame, network: Network) -> Claim:
    last = max(network.warm)
    cold, warm = (
        values(ends, "test_accuracy", network=network.name, regime=LARGE, part=part, warm=epochs)
        for part, epochs in (("regimes", 0), ("warm", last))
    )
    where = {"network": network.name, "regime": LARGE, "epsilon": EPSILONS[0], "space": FULL}
    sharp_cold = sharpness_of(sharpness, **where, part="regimes", warm=0)
    sharp_warm = sharpness_of(sharpness, **where, part="warm", warm=last)
    holds = [
        bool(warm[seed] > cold[seed] and sharp_warm[seed] < sharp_cold[seed])
        for seed in warm.index.intersection(sharp_warm.index)
        if seed in cold.index and seed in sharp_cold.index
    ]
    return Claim(
        name=f"a warm start by small batches helps large ones ({network.name})",
        sentence=f"After {last} small-batch epochs, large batches reach a test accuracy of "
        f"{percent(warm)} and a sharpness of {Measured.of(sharp_warm):.2f}; from the start, "
        f"{percent(cold)} and {Measured.of(sharp_cold):.2f}.",
        rule=f"More accurate and less sharp (full space, ε = {EPSILONS[0]:g}) {EVERY_SEED}.",
        verdict=verdict(holds),
        paper="helps after enough small-batch epochs (figure 5)",
        ours=f"{percent(warm)}, {Measured.of(sharp_warm):.2f}",
    )
