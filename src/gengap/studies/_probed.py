"""From the probes of a study's trials to frames with the trials' places."""

from collections.abc import Sequence
from typing import Any, cast

import pandas as pd

from gengap.lab import Lab

from ._gather import Entry

COHERENCE = (
    *("epoch", "step", "layer", "group", "examples", "m_coherence", "alpha"),
    "share",
)
NULL_WORLDS = ("epoch", "step", "world", "share")


def coherence_of(lab: Lab, entries: Sequence[Entry], *, layers: bool = False) -> pd.DataFrame:
    """Return what the coherence probes measured, with place, trial and seed of every entry.

    Args:
        lab: Where the trials are.
        entries: Trials with their places; those without the probe, or not complete, give nothing.
        layers: Whether to keep the rows of single layers.
    """
    own = [e for e in entries if e.trial.probes is not None and e.trial.probes.coherence]
    frames = [(entry, lab.coherence([entry.trial])) for entry in own]
    if not layers:
        frames = [(entry, found[found["layer"] == ""]) for entry, found in frames]
    return _joined(frames, entries, COHERENCE)


def null_worlds_of(lab: Lab, entries: Sequence[Entry]) -> pd.DataFrame:
    """Return the null worlds' shares of the gradient, with place, trial and seed of every entry."""
    own = [e for e in entries if e.trial.probes is not None and e.trial.probes.null_worlds]
    frames = [(entry, lab.null_worlds([entry.trial])) for entry in own]
    return _joined(frames, entries, NULL_WORLDS)


def _joined(
    frames: Sequence[tuple[Entry, pd.DataFrame]], entries: Sequence[Entry], columns: Sequence[str]
) -> pd.DataFrame:
    placed = [_placed(found, entry) for entry, found in frames if len(found)]
    keys = dict.fromkeys(key for entry in entries for key in entry.place)
    empty = pd.DataFrame(columns=[*columns, "trial", *keys, "seed"])
    return pd.concat(placed, ignore_index=True) if placed else empty


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
