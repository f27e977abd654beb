"""From the probes of a study's trials to frames with the trials' places."""

from collections.abc import Sequence
from typing import Any, cast

import pandas as pd

from gengap.lab import Lab

from ._gather import Entry

COHERENCE = (
    *("epoch", "step", "layer", "group", "examples", "m_coherence", "alpha"),
    *("share", "null_lowest", "null_highest"),
)


def coherence_of(lab: Lab, entries: Sequence[Entry], *, layers: bool = False) -> pd.DataFrame:
    """Return what the coherence probes measured, with place, trial and seed of every entry.

    Args:
        lab: Where the trials are.
        entries: Trials with their places; those without the probe, or not complete, give nothing.
        layers: Whether to keep the rows of single layers.
    """
    frames = []
    for entry in entries:
        if entry.trial.probes is None or entry.trial.probes.coherence is None:
            continue
        found = lab.coherence([entry.trial])
        found = found if layers else found[found["layer"] == ""]
        if len(found):
            frames.append(_placed(found, entry))
    keys = dict.fromkeys(key for entry in entries for key in entry.place)
    empty = pd.DataFrame(columns=[*COHERENCE, "trial", *keys, "seed"])
    return pd.concat(frames, ignore_index=True) if frames else empty


def examples_of(lab: Lab, entries: Sequence[Entry]) -> list[tuple[Entry, pd.DataFrame]]:
    """Return the entries whose training examples were followed to the end, with their frames."""
    return [
        (entry, lab.examples(entry.trial))
        for entry in entries
        if entry.trial.probes is not None
        and entry.trial.probes.examples
        and lab.store.is_complete(entry.trial.id)
    ]


def _placed(found: pd.DataFrame, entry: Entry) -> pd.DataFrame:
    place = {**entry.place, "seed": entry.trial.seed, "trial": entry.trial.id}
    return found.assign(**cast("Any", place))
