"""The m-coherence of an audit's trials: its numbers and the sentence they support."""

from collections.abc import Sequence

import pandas as pd

from gengap.lab import Lab
from gengap.report import Claim, Measured

from ._plan import AS_GIVEN, RANDOM, TRUE, Planned
from ._verdict import EVERY_SEED, verdict

EARLY_STEPS = 25
"""Steps that count as early, as in the paper."""

_LARGER = 2.0


def coherence(lab: Lab, planned: Sequence[Planned]) -> pd.DataFrame:
    """Return what the probes measured, with data_set, level, variant and seed of every trial.

    A row a measurement, layer and group; empty where the trials had no probes.
    """
    places = pd.DataFrame([
        {
            "trial": item.trial.id,
            "data_set": item.data_set.name,
            "level": item.data_set.level,
            "variant": item.variant,
            "seed": item.trial.seed,
        }
        for item in planned
    ])
    found = lab.coherence([item.trial for item in planned])
    return found.merge(places, on="trial", how="left", sort=False)


def whole(found: pd.DataFrame, group: str = "all") -> pd.DataFrame:
    """Return the rows of whole networks and one group of examples."""
    return found[(found["layer"] == "") & (found["group"] == group)]


def with_coherence(table: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """Return an audit's results with two further columns, where coherence was measured.

    - `early_coherence`: mean m-coherence of the whole network over the measurements after steps 1
      to 25.
    - `coherence_at_half_loss`: m-coherence at the first measurement at which the mean loss of the
      sample is at most half of that before training; NaN where it never is.
    """
    if not len(found):
        return table
    rows = whole(found)
    early = rows[rows["step"].between(1, EARLY_STEPS)].groupby("trial")["m_coherence"].mean()
    start = rows[rows["step"] == 0].set_index("trial")["loss"]
    halved = rows[rows["loss"] <= rows["trial"].map(start) / 2].groupby("trial")["m_coherence"]
    return table.assign(
        early_coherence=table["trial"].map(early),
        coherence_at_half_loss=table["trial"].map(halved.first()),
    )


def coherence_claims(table: pd.DataFrame, found: pd.DataFrame) -> list[Claim]:
    """Return the claims about coherence; none where it was not measured.

    Args:
        table: What `with_coherence` returned.
        found: What `coherence` returned.
    """
    if not len(found):
        return []
    claims = [_true_labels(table, found), _clean_labels(found)]
    return [claim for claim in claims if claim is not None]


def _true_labels(table: pd.DataFrame, found: pd.DataFrame) -> Claim:
    given = table[table["variant"] == AS_GIVEN].set_index("seed")
    true, random = (
        given.loc[given["data_set"] == name, "coherence_at_half_loss"] for name in (TRUE, RANDOM)
    )
    probe = int(whole(found)["examples"].max())
    times = (true / random).dropna()
    decided = verdict([bool(value >= _LARGER) for value in times])
    said = {
        "supported": "True labels pull together more than random ones",
        "not supported": "True labels do not pull together much more than random ones",
        "inconclusive": "Whether true labels pull together more than random ones is open",
    }[decided]
    numbers = (
        f"when the loss of {probe} training examples has first halved, their m-coherence is "
        f"{Measured.of(true):.1f} on true labels and {Measured.of(random):.1f} on random ones, "
        "where 1 means that no example's gradient helps another."
    )
    never = "the loss on random labels, or on true ones, is never halved."
    return Claim(
        name="true labels cohere",
        sentence=f"{said}: {numbers if len(times) else never}",
        rule="m-coherence at the first measurement at which the loss is at most half of that "
        f"before training: on true labels at least {_LARGER:g} times that on random labels "
        f"{EVERY_SEED}.",
        verdict=decided,
        paper="orders of magnitude apart early (ResNet-18, ImageNet)",
        ours=f"{Measured.of(times):.1f} times" if len(times) else "never halved",
    )


def _clean_labels(found: pd.DataFrame) -> Claim | None:
    rows = found[(found["layer"] == "") & (found["level"] > 0) & (found["level"] < 1)]
    rows = rows[rows["variant"] == AS_GIVEN]
    if not len(rows):
        return None
    seeds, rows = rows["seed"].unique(), rows[rows["examples"] > 1]
    helped = (rows["m_coherence"] - 1) / (rows["examples"] - 1)
    means = rows.assign(helped=helped).pivot_table(
        index=["seed", "level"], columns="group", values="helped"
    )
    both = means.reindex(columns=["clean", "corrupted"]).dropna()  # else a level says nothing
    ahead = (both["clean"] > both["corrupted"]).groupby("seed").all().reindex(seeds)
    clean, corrupted = (Measured.of(both[g].groupby("seed").mean()) for g in ("clean", "corrupted"))
    numbers = (
        "Among examples whose label was redrawn and changed, a step along one example's "
        f"gradient helps {corrupted:.1%} of the others over training; among those whose label was "
        f"not, {clean:.1%}."
    )
    none = "No level of corruption has two clean and two corrupted examples in the sample."
    return Claim(
        name="clean labels cohere more",
        sentence=numbers if len(both) else none,
        rule="Mean over all measurements of (m-coherence - 1) / (examples - 1), which is 0 where "
        "no example helps another: larger for the clean than for the corrupted at every level "
        "of corruption that has two of each in the sample, "
        f"{EVERY_SEED}.",
        verdict=verdict([None if pd.isna(holds) else bool(holds) for holds in ahead]),
        ours=f"{clean:.1%} and {corrupted:.1%}" if len(both) else "",
    )
