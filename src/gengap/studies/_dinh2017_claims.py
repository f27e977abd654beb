"""The claims of Dinh et al. (2017), each with its rule, written before the trials.

A rule is asked once a seed: a claim is supported when it holds in every seed that ended, of at
least two, not supported when it fails in every one, and inconclusive otherwise.
"""

from collections.abc import Sequence

import pandas as pd

from gengap.auditing import EVERY_SEED, verdict
from gengap.report import Claim, Measured

from ._dinh2017_numbers import ALPHAS, EPSILONS, STAYS_AT, Numbers
from ._dinh2017_trials import REGIMES, Network

SAME, GROWS, AT, STAYS, MOVES, CLOSE, LEAST = 1e-12, 1000.0, 100.0, 1e-6, 0.01, 1e-3, 1e-3


def claims(numbers: Numbers, networks: Sequence[Network]) -> list[Claim]:
    """Return the claims, from what was measured."""
    found = []
    for network in networks:
        if network.scaled:
            own = numbers.scaled[numbers.scaled["network"] == network.name]
            found += [_same(own, network.name), _grows(own, network.name, "top_eigenvalue")]
            found += [_grows(own, network.name, "trace"), _sharper(own, network.name)]
            found += [_within(numbers.within, network.name), _stay(numbers.measures, network.name)]
        else:
            found.append(_theorem(numbers.theorem, network.name))
    return [*found, *_coordinates(numbers.coordinates), *_orbit(numbers.orbit)]


def _same(own: pd.DataFrame, network: str) -> Claim:
    worst = own.groupby("seed")["difference"].max().astype(float)
    value = f"{worst.max():.1e}" if len(worst) else "–"
    return Claim(
        name=f"rescaling keeps the function ({network})",
        sentence=f"Rescaled by α = 1 to {max(ALPHAS):g}, {network}'s outputs differ by at most "
        f"{value} of the largest output.",
        rule=f"At most {SAME:g}, in float64, {EVERY_SEED}.",
        verdict=verdict([bool(value <= SAME) for value in worst]),
        paper="the same function (theorem 1)",
        ours=value,
    )


def _ratio(own: pd.DataFrame, column: str, alpha: float) -> pd.Series:
    """Return by which factor a column grew from alpha = 1, by seed."""
    table = own.pivot_table(index="seed", columns="alpha", values=column, aggfunc="first")
    if not {1.0, alpha} <= set(table.columns):
        return pd.Series(dtype=float)
    return (table[alpha] / table[1.0]).dropna()


_TITLES = {"top_eigenvalue": "largest eigenvalue of the Hessian", "trace": "trace of the Hessian"}


def _grows(own: pd.DataFrame, network: str, column: str) -> Claim:
    ratio = _ratio(own, column, AT)
    value = f"{Measured.of(ratio):.0f}"
    return Claim(
        name=f"the {_TITLES[column]} is arbitrary ({network})",
        sentence=f"At α = {AT:g} the {_TITLES[column]} of the same function is {value} times as "
        "large.",
        rule=f"At least {GROWS:g} times {EVERY_SEED}.",
        verdict=verdict([bool(value >= GROWS) for value in ratio]),
        paper="beyond any bound (theorem 4)",
        ours=f"{value} times",
    )


def _sharper(own: pd.DataFrame, network: str) -> Claim:
    ratio = _ratio(own, "sharpness", AT)
    value = f"{Measured.of(ratio):.1f}"
    return Claim(
        name=f"so is the sharpness of Keskar et al. ({network})",
        sentence=f"At α = {AT:g} it is {value} times as large, in a box that grows with the "
        "weights.",
        rule=f"More than twice as large {EVERY_SEED}.",
        verdict=verdict([bool(value > 2) for value in ratio]),
        paper="any value up to that of a constant function (section 4.3)",
        ours=f"{value} times",
    )


def _within(within: pd.DataFrame, network: str) -> Claim:
    own = within[within["network"] == network]
    table = own.pivot_table(index="seed", columns="epsilon", values="sharpness", aggfunc="first")
    nothing = pd.Series(dtype=float)
    smallest, largest = (table.get(radius, nothing) for radius in (min(EPSILONS), max(EPSILONS)))
    holds = [
        bool(smallest[seed] > 0 and abs(smallest[seed] / largest[seed] - 1) < CLOSE)
        for seed in smallest.dropna().index
    ]
    value = f"{Measured.of(smallest):.3g} %"
    return Claim(
        name=f"a ball of any size holds a much worse network ({network})",
        sentence=f"Rescaled, the same function has a sharpness of at least {value} within a "
        f"radius of {min(EPSILONS):g}, as within {max(EPSILONS):g}.",
        rule=f"Positive, and the same at both radii within {CLOSE:g} of it, {EVERY_SEED}.",
        verdict=verdict(holds),
        paper="100 % (L(constant) - L) / (1 + L) at any radius (section 4.3)",
        ours=value,
    )


def change(measures: pd.DataFrame) -> pd.Series:
    """Return by how much every row's measure changed, relative to the larger of its values."""
    before, after = (measures[name].astype(float) for name in ("before", "after"))
    size = pd.concat([before.abs(), after.abs()], axis=1).max(axis=1)
    return ((after - before).abs() / size.where(size > 0, 1.0)).rename("change")


def _stay(measures: pd.DataFrame, network: str) -> Claim:
    own = measures[(measures["network"] == network) & measures["invariant"].notna()]
    own = own.assign(change=change(own)).dropna(subset=["change"])
    holds, worst = [], 0.0
    for _, rows in own.groupby("seed"):
        kept = rows[rows["invariant"].astype(bool)]["change"]
        moved = rows[~rows["invariant"].astype(bool)]["change"]
        holds.append(bool((kept < STAYS).all() and (moved > MOVES).all()))
        worst = max(worst, float(kept.max()))
    names = own[own["invariant"].astype(bool)]["name"].nunique()
    return Claim(
        name=f"some measures stay ({network})",
        sentence=f"At α = {STAYS_AT:g} the {names} measures that claim to be invariant change by "
        f"at most {worst:.1e} of their value.",
        rule=f"Those that claim to stay change by less than {STAYS:g}, those that do not by more "
        f"than {MOVES:g}, of the larger value, {EVERY_SEED}.",
        verdict=verdict(holds),
        ours=f"{worst:.1e}",
    )


def _theorem(theorem: pd.DataFrame, network: str) -> Claim:
    own = theorem[theorem["network"] == network]
    holds = (own["above"] >= own["promised"]) & (own["promised"] > 0)
    told = ", ".join(f"{row.above} (promised {row.promised})" for row in own.itertuples())
    return Claim(
        name=f"theorem 5 ({network})",
        sentence=f"Rescaled so that all but a few of the positive eigenvalues of the Hessian of "
        f"{network} exceed ten times the largest before, so many do: {told or 'no run has ended'}.",
        rule=f"At least as many as promised {EVERY_SEED}.",
        verdict=verdict([bool(value) for value in holds]),
        paper="rank less the smallest layer",
        ours=told,
    )


def _coordinates(coordinates: pd.DataFrame) -> list[Claim]:
    found = []
    for name, own in coordinates.groupby("change", sort=False):
        gap = ((own["found"] - own["expected"]).abs() / own["expected"]).astype(float)
        worst = gap.groupby(own["seed"]).max()
        what = "the size of input gradients" if name == "inputs" else "the curvature"
        found.append(
            Claim(
                name=f"coordinates decide ({name})",
                sentence=f"In other coordinates ({name}) {what} of the same function is what "
                f"theory says, to {worst.max():.1e} of it.",
                rule=f"Within {CLOSE:g} of the expected factor, for every factor, {EVERY_SEED}.",
                verdict=verdict([bool(value < CLOSE) for value in worst]),
                paper="arbitrary (section 5)",
                ours=f"{worst.max():.1e}",
            )
        )
    return found


def _orbit(orbit: pd.DataFrame) -> list[Claim]:
    spread = orbit.groupby("seed")["spread"].max().astype(float)
    least = {
        regime: orbit[orbit["regime"] == regime].set_index("seed")["least"].astype(float)
        for regime in REGIMES
    }
    small, large, random = least.values()
    batches, labels = (large / small).dropna(), (random / small).dropna()
    value = f"{spread.max():.1e}" if len(spread) else "–"
    return [
        Claim(
            name="the least trace over all rescalings is a number of the function",
            sentence=f"Found again from rescalings over ten decades it differs by at most {value}.",
            rule=f"At most {LEAST:g} of it {EVERY_SEED}.",
            verdict=verdict([bool(value <= LEAST) for value in spread]),
            ours=value,
        ),
        Claim(
            name="large batches end sharper, whatever the coordinates",
            sentence="The least trace of networks trained with large batches is "
            f"{Measured.of(batches):.2f} times that of those trained with small ones; all were "
            "trained to a loss of at most 0.01.",
            rule=f"Larger {EVERY_SEED}. The question is ours.",
            verdict=verdict([bool(value > 1) for value in batches]),
            ours=f"{Measured.of(batches):.2f} times",
        ),
        Claim(
            name="random labels end sharper, whatever the coordinates",
            sentence="The least trace of networks that fit random labels is "
            f"{Measured.of(labels):.2f} times that of those that fit true ones; all were trained "
            "to a loss of at most 0.01.",
            rule=f"Larger {EVERY_SEED}. The question is ours.",
            verdict=verdict([bool(value > 1) for value in labels]),
            ours=f"{Measured.of(labels):.2f} times",
        ),
    ]
