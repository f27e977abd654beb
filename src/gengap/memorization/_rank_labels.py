"""Ranks the labels of a split by how suspicious they are."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gengap._checks import check_choice
from gengap.data import Split

from ._example_scores import example_scores
from ._ranked import ranked

if TYPE_CHECKING:
    import pandas as pd

SCORES = {
    "negative_margin": "minus the mean margin over training (AUM)",
    "mean_loss": "mean loss over training",
    "doubt": "1 minus the label's mean probability over training",
    "learning_time": "first epoch at which the label is right",
    "forgetting": "times the label was right, then wrong",
    "final_loss": "loss after training",
    "error_norm": "distance of the probabilities from the label after training (EL2N)",
    "gradient_norm": "norm of the example's gradient after training",
    "misalignment": "minus the cosine of its gradient and the mean of others of its label",
}
"""The scores, higher for more suspicious, and what each is."""


def rank_labels(
    split: Split,
    examples: "Sequence[pd.DataFrame]",
    *,
    networks: Sequence[Mapping[str, np.ndarray]] = (),
    by: str = "negative_margin",
) -> "pd.DataFrame":
    """Rank the labels of a split, the most suspicious first.

    Args:
        split: What the runs trained on.
        examples: `Run.examples` of one or more runs; their scores are averaged. Runs with NaN
            in a score have diverged, and are left out.
        networks: What `network_scores` gave for the same runs, or nothing.
        by: The score that ranks, a key of `SCORES`. Equal ones are ordered by the mean loss.

    Returns:
        A row an example. Columns: `rank` from 1, `example` (its row in the split), `file` (only
        where examples are files; relative to their folder), `given` label,
        `suggested` label (the other one that the networks held likeliest over training; by name
        where classes have names), `true` label and whether the given one was `changed`, so that
        it is another (only if some are), the mean probabilities `confidence` of the given and
        `suggested_confidence` of the suggested label (of several runs less than the mean where
        these suggest different ones: each counts for its own), and every score.

    Raises:
        ValueError: The runs do not cover the split, all have diverged, or there is no such score.
    """
    if not examples:
        raise ValueError("`examples` must hold the frame of at least one run; got none.")
    _check_rows(examples, networks, len(split))
    runs = [
        example_scores(frame) | dict(networks[place] if networks else {})
        for place, frame in enumerate(examples)
    ]
    check_choice("by", by, runs[0])
    whole = [i for i, run in enumerate(runs) if not any(np.isnan(v).any() for v in run.values())]
    if not whole:
        raise ValueError(
            f"`examples` must hold a run that did not diverge; got NaN in the scores of all "
            f"{len(runs)}. Train at a lower learning rate."
        )
    scores, examples = _averaged([runs[i] for i in whole]), [examples[i] for i in whole]
    suggested, suggested_confidence = _suggestion(examples)
    confidences = 1 - scores["doubt"], suggested_confidence
    return ranked(split, scores, by=by, suggested=suggested, confidences=confidences)


def _check_rows(
    examples: "Sequence[pd.DataFrame]", networks: Sequence[Mapping[str, np.ndarray]], n: int
) -> None:
    """Require a row for each of n examples, in their order, of every run and of its network."""
    for frame in examples:
        if len(frame) != n:
            raise ValueError(
                f"`examples` must have a row for each of the {n} examples of the split; got "
                f"{len(frame)} rows. Train without early stopping."
            )
        if (frame["example"].to_numpy() != np.arange(n)).any():
            raise ValueError(
                "`examples` must be in the order of the split; got another order. Sort them by "
                "their column `example`."
            )
    if networks and len(networks) != len(examples):
        raise ValueError(
            f"`networks` must be those of the {len(examples)} runs of `examples`; got "
            f"{len(networks)}."
        )
    for scores in networks:
        for name, values in scores.items():
            if len(values) != n:
                raise ValueError(
                    f"`networks` must have a score for each of the {n} examples; got {len(values)} "
                    f"of {name!r}."
                )


def _averaged(runs: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.mean([scores[name] for scores in runs], axis=0) for name in runs[0]}


def _suggestion(examples: "Sequence[pd.DataFrame]") -> tuple[np.ndarray, np.ndarray]:
    """Return the suggested label with the most probability over all runs, and its mean.

    A run tells the probability of the label that it suggests only; of others it counts as 0.
    """
    labels = np.stack([frame["suggested"].to_numpy() for frame in examples])
    likely = np.stack([frame["suggested_confidence"].to_numpy() for frame in examples])
    support = np.stack([(likely * (labels == own)).mean(0) for own in labels])
    best = support.argmax(0)[None]
    return (
        np.take_along_axis(labels, best, 0)[0],
        np.take_along_axis(support, best, 0)[0],
    )
