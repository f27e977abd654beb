"""The claims of Chatterjee and Zielinski (2022), each with its rule, written before the trials.

A rule is asked once a seed: a network's claim is supported when it holds in every seed that ended,
of at least two, not supported when it fails in every one, and inconclusive otherwise.
"""

from collections.abc import Sequence

import pandas as pd

from gengap.auditing import EVERY_SEED, verdict
from gengap.report import Claim, Measured

from ._chatterjee2022_trials import Network
from ._judging import each, percent, points

TIMES, FIRST_TIMES, NEAR, RISE, FALL = 2.0, 8.0, 0.6, 2.0, 0.7
LOST, FEW, AGREE, CLOSE = 0.15, 0.25, 0.2, 1e-9
SIX = {
    "real": {"alpha": 0.625, "m_coherence": 2.5, "test_loss": 0.02, "common": 0.8, "own": 0.2},
    "random": {"alpha": 0.25, "m_coherence": 1.0, "test_loss": 0.5, "common": 0.0, "own": 1.0},
}
"""The paper's values, and the weights' limits: the first two at step 0, the others at the end."""


def claims(
    phases: pd.DataFrame,
    stopping: pd.DataFrame,
    agreements: pd.DataFrame,
    six: pd.DataFrame,
    networks: Sequence[Network],
) -> list[Claim]:
    """Return the claims, from the numbers of the study and its networks."""
    return [
        _six(six),
        *[_larger(phases, net.name, FIRST_TIMES if _large(net) else TIMES) for net in networks],
        *[_starts_orthogonal(phases, net.name) for net in networks if net.quiet],
        *[_rises_and_falls(phases, net.name) for net in networks if net.quiet],
        _stopping(stopping),
        *_agree(agreements),
    ]


def _large(network: Network) -> bool:
    """Return whether a network's outputs start alike, on a sample large enough for a high ratio."""
    return network.quiet and network.probe >= 2000


def six_weight_values(six: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return what the paper gives of the example of six weights, as computed."""
    found = {}
    for labels, part in six.groupby("labels", sort=False):
        first, last = part.iloc[0], part.iloc[-1]
        start = {name: float(first[name]) for name in ("alpha", "m_coherence")}
        end = {name: float(last[name]) for name in ("test_loss", "common", "own")}
        found[str(labels)] = {**start, **end}
    return found


def _six(six: pd.DataFrame) -> Claim:
    found = six_weight_values(six)
    exact = all(
        abs(found[labels][name] - value) <= CLOSE
        for labels, values in SIX.items()
        for name, value in values.items()
    )
    real, random = found["real"], found["random"]
    told = (
        f"α {real['alpha']:.3f} and {random['alpha']:.2f}, test losses {real['test_loss']:.2f} "
        f"and {random['test_loss']:.1f}"
    )
    return Claim(
        name="the example of six weights",
        sentence=f"With what is common to the examples, and without: {told}; the common weight "
        f"ends at {real['common']:.1f} and {random['common']:.1f}, the others at "
        f"{real['own']:.1f} and {random['own']:.1f}.",
        rule=f"All within {CLOSE:g}; computed, not estimated, so no seeds are needed.",
        verdict="supported" if exact else "not supported",
        paper="α 0.625 and 0.25, test losses 0.02 and 0.5",
        ours=told,
    )


def _of(phases: pd.DataFrame, network: str, labels: str, column: str) -> pd.Series:
    own = phases[(phases["network"] == network) & (phases["labels"] == labels)]
    return own.set_index("seed")[column].astype(float)


def _number(values: pd.Series) -> str:
    return f"{Measured.of(values):.1f}"


def _larger(phases: pd.DataFrame, network: str, times: float) -> Claim:
    true, random = (_of(phases, network, labels, "early") for labels in ("true", "random"))
    ratio = (true / random).dropna()
    return Claim(
        name=f"true labels cohere early ({network})",
        sentence=f"Over steps 1 to 25 the m-coherence of {network} is {_number(true)} on true "
        f"labels and {_number(random)} on random ones, {_number(ratio)} times as large.",
        rule=f"The mean over steps 1 to 25 is at least {times:g} times as large on true labels "
        f"{EVERY_SEED}.",
        verdict=verdict([bool(value >= times) for value in ratio]),
        paper="very different (ImageNet: about 10,000 against 1)",
        ours=f"{_number(ratio)} times",
    )


def _starts_orthogonal(phases: pd.DataFrame, network: str) -> Claim:
    start = _of(phases, network, "random", "at_first")
    return Claim(
        name=f"random labels start orthogonal ({network})",
        sentence=f"Over the first 5 steps the m-coherence on random labels is "
        f"{Measured.of(start):.2f}; that of orthogonal gradients is 1.",
        rule=f"Within {NEAR:g} of 1 {EVERY_SEED}.",
        verdict=verdict([bool(abs(value - 1) <= NEAR) for value in start]),
        paper="near 1",
        ours=f"{Measured.of(start):.2f}",
    )


def _rises_and_falls(phases: pd.DataFrame, network: str) -> Claim:
    peak, early, last = (_of(phases, network, "random", c) for c in ("peak", "at_first", "last"))
    holds = [
        bool(peak[seed] >= RISE * early[seed] and last[seed] <= FALL * peak[seed])
        for seed in peak.dropna().index
    ]
    return Claim(
        name=f"random labels come to cohere while they are fitted ({network})",
        sentence=f"On random labels the m-coherence of {network} goes from {_number(early)} over "
        f"the first 5 steps to a peak of {_number(peak)}, and ends at {_number(last)}.",
        rule=f"The peak after step 25 is at least {RISE:g} times the mean of the first 5 steps, "
        f"and the value at the end at most {FALL:g} times the peak, {EVERY_SEED}.",
        verdict=verdict(holds),
        paper="rises to 100 to 1,000 around epochs 40 to 60, then decays (ImageNet)",
        ours=f"{_number(early)}, {_number(peak)}, {_number(last)}",
    )


def _stopping(stopping: pd.DataFrame) -> Claim:
    lost = stopping.set_index("seed")["best"] - stopping.set_index("seed")["end"]
    corrupted = stopping.set_index("seed")["corrupted_at_best"]
    holds = [bool(lost[s] >= LOST and corrupted[s] <= FEW) for s in lost.index]
    return Claim(
        name="early stopping keeps what coheres",
        sentence="With half of the labels redrawn the best test accuracy on the way is "
        f"{points(lost)} above the last; there {percent(stopping['clean_at_best'])} of the "
        f"pristine and {percent(corrupted)} of the corrupted labels are fitted."
        if len(lost)
        else "No run with half of the labels redrawn has ended.",
        rule=f"At least {100 * LOST:g} points above, and at most {FEW:.0%} of the corrupted "
        f"labels are fitted there, {EVERY_SEED}.",
        verdict=verdict(holds),
        paper="weak directions come late",
        ours=points(lost),
    )


def _agree(agreements: pd.DataFrame) -> list[Claim]:
    own = agreements[agreements["kind"] == "two networks"]
    true, random = (own[own["labels"] == labels] for labels in ("true", "random"))
    found = []
    for (first, second), part in true.groupby(["first", "second"], sort=False):
        by_seed = part.groupby("seed")["correlation"].mean()
        pair = random[(random["first"] == first) & (random["second"] == second)]
        told = each(
            {"true labels": by_seed, "random labels": pair.groupby("seed")["correlation"].mean()},
            lambda some: f"{Measured.of(some):.2f}",
        )
        found.append(
            Claim(
                name=f"{first} and {second} learn the same examples first",
                sentence=f"Rank correlation of the times at which they learn an example: {told}.",
                rule=f"At least {AGREE:g} on true labels in every seed of the first network, of at "
                "least two, in the mean over the other's seeds.",
                verdict=verdict([bool(value >= AGREE) for value in by_seed]),
                ours=told,
            )
        )
    return found
