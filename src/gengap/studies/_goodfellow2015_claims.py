"""The claims of Goodfellow et al. (2015), each with its rule, written before the trials.

A rule is asked once a seed: a claim is supported when it holds in every seed that ended, of at
least two, not supported when it fails in every one, and inconclusive otherwise.
"""

from collections.abc import Sequence

import pandas as pd

from gengap.auditing import EVERY_SEED, verdict
from gengap.report import Claim, Measured

from ._goodfellow2015_numbers import BETWEEN, FROM_START, Numbers
from ._goodfellow2015_trials import Network

EVERY_PAIR = "for every pair of seeds, of at least two pairs"
SMALL_RISE, BUMP = 0.01, 0.1


def claims(numbers: Numbers, networks: Sequence[Network]) -> list[Claim]:
    """Return the claims, from what was read."""
    names = [network.name for network in networks]
    return [
        *[_monotone(numbers.bumps, name) for name in names],
        *[_bump(numbers.bumps, name) for name in names],
    ]


def _of(bumps: pd.DataFrame, network: str, kind: str) -> pd.DataFrame:
    own = bumps[(bumps["network"] == network) & (bumps["kind"] == kind)]
    return own.set_index("seed")[["before", "rise", "barrier"]].astype(float)


def _monotone(bumps: pd.DataFrame, network: str) -> Claim:
    own = _of(bumps, network, FROM_START)
    share = own["rise"] / own["before"]
    value = f"{Measured.of(100 * share):.2f}%"
    return Claim(
        name=f"the way from start to end has no obstacle ({network})",
        sentence=f"On the straight line from {network}'s starting weights to its final ones the "
        f"training loss rises by at most {value} of its value at the start.",
        rule=f"At most {SMALL_RISE:.0%} {EVERY_SEED}.",
        verdict=verdict([bool(value <= SMALL_RISE) for value in share]),
        paper="monotone, or nearly",
        ours=value,
    )


def _bump(bumps: pd.DataFrame, network: str) -> Claim:
    own = _of(bumps, network, BETWEEN)
    value = f"{Measured.of(own['barrier']):.2f}"
    return Claim(
        name=f"between two ends there is a bump ({network})",
        sentence=f"On the line between the final weights of two runs of {network} the training "
        f"loss goes {value} above the chord.",
        rule=f"At least {BUMP:g} nats {EVERY_PAIR}.",
        verdict=verdict([bool(value >= BUMP) for value in own["barrier"]]),
        paper="different solutions are separated",
        ours=f"{value} nats",
    )
