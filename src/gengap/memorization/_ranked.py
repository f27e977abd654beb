"""The table that ranks labels, however their scores came about."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from gengap.data import Split

if TYPE_CHECKING:
    import pandas as pd


def ranked(
    split: Split,
    scores: Mapping[str, np.ndarray],
    *,
    by: str,
    suggested: np.ndarray,
    confidences: tuple[np.ndarray, np.ndarray],
) -> "pd.DataFrame":
    """Return a row an example, the largest score first.

    Where some labels are known to be wrong, the columns `true` and `changed` tell which.

    Args:
        split: The examples and their labels.
        scores: Name to a score of every example, [n].
        by: The one that ranks; equal ones are ordered by "mean_loss", then by place.
        suggested: Class indices, [n].
        confidences: Mean probabilities of the given and of the suggested labels, [n] each.
    """
    import pandas as pd

    rows = np.arange(len(split))
    columns = {"example": rows}
    if split.files is not None:
        columns["file"] = split.files
    columns["given"] = named(split, split.targets.cpu().numpy())
    columns["suggested"] = named(split, suggested)
    changed = split.targets != split.true_targets  # not `split.changed`: that may be of pixels
    if changed.any():
        columns["true"] = named(split, split.true_targets.cpu().numpy())
        columns["changed"] = changed.cpu().numpy()
    columns["confidence"], columns["suggested_confidence"] = confidences
    order = np.lexsort((rows, -scores["mean_loss"], -scores[by]))
    frame = pd.DataFrame(columns | dict(scores)).iloc[order].reset_index(drop=True)
    frame.insert(0, "rank", rows + 1)
    return frame


def named(split: Split, labels: np.ndarray) -> np.ndarray:
    """Return labels by name where the classes have names."""
    return np.asarray(split.class_names)[labels] if split.class_names else labels
