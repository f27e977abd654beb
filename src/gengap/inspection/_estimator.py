"""The labels of a data set by a classifier of scikit-learn or skorch."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from torch import nn

from gengap.data import Split
from gengap.memorization import (
    HELD_OUT_SCORES,
    held_out_probabilities,
    rank_by_probabilities,
    usable_folds,
)


def is_estimator(build: object) -> bool:
    """Return whether something is a classifier as scikit-learn has them.

    Raises:
        ValueError: It is an estimator without `predict_proba`.
    """
    if isinstance(build, (type, nn.Module)):
        return False
    if not (hasattr(build, "fit") and hasattr(build, "get_params")):
        return False
    if not hasattr(build, "predict_proba"):
        raise ValueError(
            "`model` must have predict_proba where it is an estimator; got "
            f"{type(build).__name__}, which has none as it is. Wrap a classifier in scikit-learn's "
            "CalibratedClassifierCV."
        )
    return True


def by_estimator(
    estimator: Any, split: Split, *, seeds: Sequence[int], by: str, folds: int
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Return the ranking, a row a seed, and what was fitted as plain data."""
    used = usable_folds(split, folds)
    fewer = f", as the rarest label has {used} examples" if used < folds else ""
    found = [held_out_probabilities(estimator, split, folds=folds, seed=seed) for seed in seeds]
    labels = split.targets.cpu().numpy()
    trials = pd.DataFrame({
        "seed": list(seeds),
        "status": "fitted",
        "reason": f"Fitted {used} times, each time without a fold{fewer}.",
        "held_out_accuracy": [float((one.argmax(1) == labels).mean()) for one in found],
    })
    settings = {name: repr(value) for name, value in estimator.get_params(deep=False).items()}
    specification = {"model": {"name": type(estimator).__name__, "options": settings}}
    ranking = rank_by_probabilities(split, found, by=by)
    return ranking, trials, {**specification, "folds": used, "scores": list(HELD_OUT_SCORES)}
