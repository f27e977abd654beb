"""How well a score finds the examples that are known to be wrong."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


@final
@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number and its standard error."""

    value: float
    standard_error: float


def average_precision(scores: np.ndarray, positive: np.ndarray) -> Estimate:
    r"""Return the mean over positive examples of the precision at their score.

    $\frac{1}{m} \sum_{i \in P} \frac{|\{j \in P : s_j \ge s_i\}|}{|\{j : s_j \ge s_i\}|}$

    In [0, 1]. Of n examples in random order it is $\frac{1}{n} (\frac{m - 1}{n - 1} (n - H_n) +
    H_n)$ on average, with $H_n = 1 + \frac{1}{2} + \dots + \frac{1}{n}$: the share of positives and
    a little more, with 5 of 100 nearly twice as much. The standard error, over the draw of the
    examples, is the infinitesimal jackknife's: the root of the summed squares of the derivatives by
    each example's weight. It is too small with fewer than ten positives, and 0 for a score that
    ranks all of them first.

    Args:
        scores: Float [n], higher for positive.
        positive: Bool [n], with both kinds.

    Raises:
        ValueError: Lengths differ, a score is NaN, or there is only one kind.
    """
    scores, positive = _checked(scores, positive)
    group, size, hits = _levels(scores, positive)
    at_least, right = np.cumsum(size), np.cumsum(hits)
    precision, count = right / at_least, right[-1]
    value = float((hits * precision).sum() / count)
    gain, loss = (
        np.cumsum(part[::-1])[::-1] for part in (hits / at_least, hits * right / at_least**2)
    )
    slopes = (positive * (precision + gain - value)[group] - loss[group]) / count
    return Estimate(value=value, standard_error=float(np.sqrt((slopes**2).sum())))


def auroc(scores: np.ndarray, positive: np.ndarray) -> Estimate:
    r"""Return the chance that a positive example scores above another, ties counting half.

    In [0, 1]; 0.5 for a score that knows nothing. The standard error is that of DeLong et al.
    (1988): NaN with one example of a kind, 0 for a score that tells all of them apart, and by
    chance too small with a few.

    Args:
        scores: Float [n], higher for positive.
        positive: Bool [n], with both kinds.

    Raises:
        ValueError: Lengths differ, a score is NaN, or there is only one kind.
    """
    scores, positive = _checked(scores, positive)
    group, size, hits = _levels(scores, positive)
    misses = size - hits
    below = misses.sum() - np.cumsum(misses) + misses / 2  # other examples beneath each level
    above = np.cumsum(hits) - hits / 2  # positive examples above each level
    placed = below[group][positive] / misses.sum()
    topped = above[group][~positive] / hits.sum()
    error = math.nan
    if min(len(placed), len(topped)) > 1:
        variance = placed.var(ddof=1) / len(placed) + topped.var(ddof=1) / len(topped)
        error = math.sqrt(variance)
    return Estimate(value=float(placed.mean()), standard_error=error)


def detection(scores: Mapping[str, np.ndarray], positive: np.ndarray) -> "pd.DataFrame":
    """Return how well each score finds the positive examples, a row a score, best first.

    Columns: `score`; `average_precision` and `auroc`, each with its `_error`; and `precision`
    among the m highest, m being the number of positives; equal scores in the order of examples.
    """
    import pandas as pd

    if not scores:
        raise ValueError("`scores` must hold a score at least; got none.")
    rows = []
    for name, given in scores.items():
        values, positive = _checked(given, positive)
        area, curve = average_precision(values, positive), auroc(values, positive)
        top = np.argsort(-values, kind="stable")[: int(positive.sum())]
        rows.append({
            "score": name,
            "average_precision": area.value,
            "average_precision_error": area.standard_error,
            "auroc": curve.value,
            "auroc_error": curve.standard_error,
            "precision": float(positive[top].mean()),
        })
    frame = pd.DataFrame(rows).sort_values("average_precision", ascending=False, kind="stable")
    return frame.reset_index(drop=True)


def _checked(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, positive = np.asarray(scores, np.float64), np.asarray(positive, bool)
    if scores.shape != positive.shape or scores.ndim != 1:
        raise ValueError(
            f"`scores` and `positive` must be rows of one length; got shapes {scores.shape} and "
            f"{positive.shape}."
        )
    if np.isnan(scores).any():
        raise ValueError(f"`scores` must not be NaN; got {int(np.isnan(scores).sum())} such.")
    if positive.all() or not positive.any():
        kind = "positive" if len(positive) and positive.all() else "negative"
        raise ValueError(f"`positive` must hold both kinds of examples; got only {kind} ones.")
    return scores, positive


def _levels(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the level of every example, highest first, and each level's size and positives."""
    _, group, size = np.unique(-scores, return_inverse=True, return_counts=True)
    return group, size, np.bincount(group, weights=positive, minlength=len(size))
