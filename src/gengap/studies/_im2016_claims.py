"""The claims of Im et al. (2016), each with its rule, written before the trials.

A rule is asked once a seed: a claim is supported when it holds in every seed that ended, of at
least two, not supported when it fails in every one, and inconclusive otherwise.
"""

import pandas as pd

from gengap.auditing import EVERY_SEED, verdict
from gengap.report import Claim, Measured

from ._im2016_numbers import Numbers
from ._im2016_trials import NETWORKS, OPTIMIZERS

BUMP, APART = 0.05, 1.5


def claims(numbers: Numbers) -> list[Claim]:
    """Return the claims, from what was read."""
    return [
        *[_different_minima(numbers.barriers, network) for network in NETWORKS],
        *[_different_ways(numbers.distances, network) for network in NETWORKS],
        *[_consistent(numbers.distances, network) for network in NETWORKS],
    ]


def _different_minima(barriers: pd.DataFrame, network: str) -> Claim:
    own = barriers[barriers["network"] == network]
    smallest = own.groupby("seed")["barrier"].min().astype(float)
    mean = own.groupby("seed")["barrier"].mean().astype(float)
    return Claim(
        name=f"different optimizers end in different basins ({network})",
        sentence=f"From one start and on the same batches, {network}, the training loss between "
        f"the ends of two optimizers goes {Measured.of(mean):.3f} nats above the chord on average, "
        f"{Measured.of(smallest):.3f} for the closest pair.",
        rule=f"At least {BUMP:g} nats for every pair {EVERY_SEED}.",
        verdict=verdict([bool(value >= BUMP) for value in smallest]),
        paper="optimizers choose different minima",
        ours=f"{Measured.of(mean):.3f} nats",
    )


def _by_optimizer(distances: pd.DataFrame, network: str) -> pd.DataFrame:
    """Return one row a seed that has all optimizers, one column an optimizer."""
    own = distances[distances["network"] == network]
    table = own.pivot_table(index="seed", columns="optimizer", values="distance", aggfunc="first")
    return table.reindex(columns=list(OPTIMIZERS)).dropna()


def _different_ways(distances: pd.DataFrame, network: str) -> Claim:
    table = _by_optimizer(distances, network)
    ratio = table.max(axis=1) / table.min(axis=1)
    told = ", ".join(f"{name} {Measured.of(table[name]):.1f}" for name in table) or "no runs"
    return Claim(
        name=f"optimizers go differently far ({network})",
        sentence=f"Distance from start to end {network}: {told}.",
        rule=f"The farthest goes at least {APART:g} times as far as the nearest {EVERY_SEED}.",
        verdict=verdict([bool(value >= APART) for value in ratio]),
        paper="characteristic differences",
        ours=f"{Measured.of(ratio):.2f} times",
    )


def _consistent(distances: pd.DataFrame, network: str) -> Claim:
    table = _by_optimizer(distances, network)
    orders = [tuple(row.sort_values().index) for _, row in table.iterrows()]
    common = max(set(orders), key=orders.count) if orders else ()
    told = ", ".join(common) or "not known"
    return Claim(
        name=f"what an optimizer does is the same in every run ({network})",
        sentence=f"From the nearest to the farthest {network}: {told}; so in "
        f"{orders.count(common) if orders else 0} of {len(orders)} seeds.",
        rule=f"One order of the optimizers by distance {EVERY_SEED}.",
        verdict=verdict([order == common for order in orders]),
        paper="consistent across runs",
    )
