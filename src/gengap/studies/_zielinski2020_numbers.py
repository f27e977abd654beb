"""Numbers of Zielinski et al. (2020): what three gradients delay, easy and hard examples."""

import math
from collections.abc import Sequence
from itertools import pairwise

import pandas as pd
import torch

from gengap._right import is_right
from gengap.lab import Lab

from ._gather import ENDED, Entry

EARLY_STEPS = 25
"""Steps that count as early."""


def delays(ends: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    """Return one row a run of a rule: how much it has memorized, and when.

    Columns added: fitted, the share of corrupted labels fitted at the end; pristine, that of
    pristine ones; updates, the updates made; half, the updates at which half of the corrupted
    labels are fitted, read between evaluations (infinite if never); delay, over that of SGD with
    the same seed; level, the test accuracy at that point (NaN if never); lost, how far the test
    accuracy has fallen from its best.
    """
    rows = ends[ends["part"] == "rules"].copy()
    last: dict[str, dict[str, float]] = {}
    if len(history):
        own = history[history["part"] == "rules"]
        last = {str(trial): _run(part) for trial, part in own.groupby("trial")}
    for column in ("fitted", "pristine", "updates", "half", "level"):
        values = [last.get(trial, {}).get(column, math.nan) for trial in rows["trial"]]
        rows[column] = pd.Series(values, index=rows.index, dtype=float)
    best, end = (rows[c].astype(float) for c in ("best_test_accuracy", "test_accuracy"))
    rows["lost"] = best - end
    sgd = rows[rows["rule"] == "SGD"].set_index(["setting", "seed"])["half"]
    own_sgd = [
        sgd.get((s, seed), math.nan) for s, seed in zip(rows["setting"], rows["seed"], strict=True)
    ]
    rows["delay"] = rows["half"] / pd.Series(own_sgd, index=rows.index, dtype=float)
    return rows


def updates(history: pd.DataFrame) -> pd.Series:
    """Return the updates made: M3 and the mean of three make one in three steps."""
    third = history["rule"].isin(("M3", "mean of three"))
    return (history["step"] // 3).where(third, history["step"])


def _run(part: pd.DataFrame) -> dict[str, float]:
    part = part.sort_values("step").assign(updates=updates(part))
    end = part.iloc[-1]
    half = _crossing(part, "corrupted_accuracy", 0.5)
    known = math.isfinite(half)
    return {
        "fitted": float(end["corrupted_accuracy"]),
        "pristine": float(end["clean_accuracy"]),
        "updates": float(end["updates"]),
        "half": half,
        "level": _at(part, "test_accuracy", half) if known else math.nan,
    }


def _crossing(part: pd.DataFrame, column: str, level: float) -> float:
    """Return where a column first reaches a level, on straight lines between evaluations."""
    before: tuple[float, float] | None = None
    for x, y in zip(part["updates"], part[column], strict=True):
        if y >= level:
            if before is None or y == before[1]:
                return float(x)
            x0, y0 = before
            return float(x0 + (x - x0) * (level - y0) / (y - y0))
        before = (float(x), float(y))
    return math.inf


def _at(part: pd.DataFrame, column: str, x: float) -> float:
    """Return a column's value at a number of updates, on straight lines between evaluations."""
    rows = list(zip(part["updates"].astype(float), part[column].astype(float), strict=True))
    for (x0, y0), (x1, y1) in pairwise(rows):
        if x0 <= x <= x1:
            return y1 if x1 == x0 else y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return rows[-1][1]


def groups(lab: Lab, entries: Sequence[Entry], coherence: pd.DataFrame) -> pd.DataFrame:
    """Return one row a network trained on a group and a group it is tested on.

    Columns: source, seed, trained, tested, examples, train_accuracy, accuracy (on the held-out
    examples of the tested group), early_alpha and early_m_coherence of the training group over
    steps 1 to 25. Only pairs whose networks have ended.
    """
    own = [e for e in entries if e.place["part"] == "groups" and lab.store.is_complete(e.trial.id)]
    rows = []
    for entry in own:
        status = lab.store.result(entry.trial.id)
        if status["status"] not in ENDED:
            continue
        model = lab.model(entry.trial)
        probed = coherence[coherence["trial"] == entry.trial.id]
        early = probed[probed["step"].between(1, EARLY_STEPS)]
        for other in own:
            same = (entry.place["source"], entry.trial.seed)
            if (other.place["source"], other.trial.seed) != same:
                continue
            train, held_out = other.trial.splits()
            assert held_out is not None
            x, y = held_out.batch(torch.arange(len(held_out)))
            with torch.no_grad():
                right = is_right(model(x), y).double().mean()
            rows.append({
                "source": entry.place["source"],
                "seed": entry.trial.seed,
                "trained": entry.place["group"],
                "tested": other.place["group"],
                "examples": len(train),
                "train_accuracy": float(status["final"]["train_accuracy"]),
                "accuracy": float(right),
                "early_alpha": float(early["alpha"].mean()),
                "early_m_coherence": float(early["m_coherence"].mean()),
            })
    return pd.DataFrame(rows, columns=GROUP_COLUMNS)


GROUP_COLUMNS = [
    *("source", "seed", "trained", "tested", "examples", "train_accuracy", "accuracy"),
    *("early_alpha", "early_m_coherence"),
]
