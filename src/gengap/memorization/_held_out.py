"""Ranks labels by the probabilities that models gave to examples they were not fitted to."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gengap._checks import check_choice, check_count
from gengap._streams import own_draws
from gengap.data import Split

from ._ranked import named, ranked

if TYPE_CHECKING:
    import pandas as pd

HELD_OUT_SCORES = {
    "negative_margin": "largest held-out probability of another label minus the given one's",
    "mean_loss": "minus the logarithm of the given label's held-out probability",
    "doubt": "1 minus the given label's held-out probability",
}
"""The scores by held-out probabilities, higher for more suspicious, and what each is."""

_LEAST = 1e-12


def usable_folds(split: Split, folds: int) -> int:
    """Return into how many folds examples can be divided: no more than the rarest label has.

    Args:
        split: Examples with classes.
        folds: How many are asked for.

    Raises:
        ValueError: The split has no classes, or a label has one example.
    """
    check_count("folds", folds, least=2)
    if split.num_classes is None:
        raise ValueError("`split` must have classes for targets; got real values.")
    found, counts = np.unique(split.targets.cpu().numpy(), return_counts=True)
    if counts.min() < 2:
        rare = named(split, found[counts == counts.min()])[0].item()
        raise ValueError(
            "`split` must have two examples or more of every label, to fit without one; got one of "
            f"{rare!r}. Leave that label out."
        )
    return min(folds, int(counts.min()))


def held_out_probabilities(
    estimator: Any, split: Split, *, folds: int = 5, seed: int = 0
) -> np.ndarray:
    """Return each example's probabilities by a model fitted without its fold, float64 [n, c].

    The folds hold the labels in equal shares and are drawn from the seed, which an estimator's
    `random_state` also takes where it is None. Cost: as many fits as `usable_folds` says.

    Args:
        estimator: With `fit`, `predict_proba` and `classes_`, as scikit-learn has them; it is
            cloned. A network of skorch is given inputs in their shape, every other one row an
            example, float32; labels are class indices.
        split: Examples with classes.
        folds: How many; where the rarest label has fewer examples, as many as it has.
        seed: Root of the draws, also PyTorch's while a network of skorch is fitted.

    Raises:
        ValueError: The split has no classes, or a label has one example.
    """
    from sklearn.base import clone
    from sklearn.model_selection import StratifiedKFold

    used = usable_folds(split, folds)
    labels = split.targets.cpu().numpy()
    x = _inputs(estimator, split)
    probabilities = np.zeros((len(split), split.num_classes or 0))
    drawn = StratifiedKFold(used, shuffle=True, random_state=seed)
    for rest, held in drawn.split(labels, labels):
        model = clone(estimator)
        unset = [
            k for k, v in model.get_params().items() if k.endswith("random_state") and v is None
        ]
        model.set_params(**dict.fromkeys(unset, seed))
        with own_draws(seed):
            model.fit(x[rest], labels[rest])
            columns = np.asarray(model.classes_, dtype=int)
            probabilities[np.ix_(held, columns)] = model.predict_proba(x[held])
    return probabilities


def rank_by_probabilities(
    split: Split, probabilities: Sequence[np.ndarray], *, by: str = "negative_margin"
) -> "pd.DataFrame":
    """Rank the labels of a split by held-out probabilities, the most suspicious first.

    Args:
        split: What the probabilities are of.
        probabilities: [n, c], one or more; scores are averaged over them.
        by: The score that ranks, a key of `HELD_OUT_SCORES`. Equal ones are ordered by the mean
            loss.

    Returns:
        A row an example, with the columns of `rank_labels`, but for scores of training.

    Raises:
        ValueError: The probabilities do not fit the split, or there is no such score.

    Source:
        The normalized margin and self-confidence of Northcutt et al. (2021), arXiv:1911.00068.
    """
    check_choice("by", by, HELD_OUT_SCORES)
    if not probabilities:
        raise ValueError("`probabilities` must hold one array or more; got none.")
    stack = np.stack([np.asarray(one, np.float64) for one in probabilities])
    if stack.shape[1:] != (len(split), split.num_classes) or not np.isfinite(stack).all():
        raise ValueError(
            f"`probabilities` must be finite and [{len(split)}, {split.num_classes}]; got "
            f"{list(stack.shape[1:])}."
        )
    labels = split.targets.cpu().numpy()
    rows = np.arange(len(split))
    own, others = stack[:, rows, labels], stack.copy()
    others[:, rows, labels] = -np.inf
    scores = {
        "negative_margin": (others.max(2) - own).mean(0),
        "mean_loss": -np.log(own.clip(min=_LEAST)).mean(0),
        "doubt": 1 - own.mean(0),
    }
    mean = others.mean(0)
    return ranked(
        split,
        scores,
        by=by,
        suggested=mean.argmax(1),
        confidences=(own.mean(0), mean.max(1)),
    )


def _inputs(estimator: Any, split: Split) -> np.ndarray:
    """Return network inputs, [n, d], or [n, ...] for skorch, whose networks take images."""
    x = torch.cat([x for x, _ in split.batches(1024)]).float().cpu()
    images = any(kind.__module__.startswith("skorch.") for kind in type(estimator).__mro__)
    return (x if images else x.flatten(1)).numpy()
