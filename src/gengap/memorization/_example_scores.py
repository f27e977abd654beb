"""Scores of single examples from what a run recorded; higher is more suspicious."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def negative_margin(examples: "pd.DataFrame") -> np.ndarray:
    r"""Return minus the mean over epochs of $z_y - \max_{k \ne y} z_k$, float64 [n], in logits.

    Positive where the network, on the mean over training, preferred another label. It is best
    before the network fits the wrong labels, and falls off slowly afterwards.

    Args:
        examples: `Run.examples` of a run with `Probes(examples=True)`, as for all scores here.

    Source:
        The area under the margin (AUM) of Pleiss et al. (2020), arXiv:2001.10528, with the sign
        turned; theirs takes the logits of the training steps, ours those of the evaluations.
    """
    return -examples["margin"].to_numpy(np.float64)


def mean_loss(examples: "pd.DataFrame") -> np.ndarray:
    """Return the mean loss over epochs, float64 [n], in nats.

    Hardly changes by training on after every label is fitted: a fitted epoch adds nothing.
    """
    return examples["mean_loss"].to_numpy(np.float64)


def doubt(examples: "pd.DataFrame") -> np.ndarray:
    """Return 1 minus the mean probability of the given label over epochs, float64 [n], in [0, 1].

    Source:
        The confidence of Swayamdipta et al. (2020), arXiv:2009.10795, with the sign turned.
    """
    return 1 - examples["confidence"].to_numpy(np.float64)


def learning_time(examples: "pd.DataFrame") -> np.ndarray:
    """Return the first epoch at which the example is right, float64 [n].

    Examples first right at the same epoch are ordered by the epoch since when they have stayed
    right, which adds less than 1. Never is one more than the last such epoch of all examples.
    """
    first = examples["first_learned"].to_numpy(np.float64)
    last = examples["last_learned"].to_numpy(np.float64)
    never = 1 + max(np.max(np.nan_to_num(first)), np.max(np.nan_to_num(last)))
    first, last = (np.where(np.isnan(epochs), never, epochs) for epochs in (first, last))
    return first + last / (never + 1)


def forgetting(examples: "pd.DataFrame") -> np.ndarray:
    """Return how often the example went from right to wrong, float64 [n].

    One that was never right counts as one more than the most often forgotten.

    Source:
        Toneva et al. (2019), arXiv:1812.05159; theirs looks when a training step meets the
        example, ours at the evaluations.
    """
    counts = examples["forgotten"].to_numpy(np.float64)
    return np.where(examples["first_learned"].isna(), counts.max() + 1, counts)


def final_loss(examples: "pd.DataFrame") -> np.ndarray:
    """Return the loss after training, float64 [n], in nats: low for what has been memorized."""
    return examples["loss"].to_numpy(np.float64)


def example_scores(examples: "pd.DataFrame") -> dict[str, np.ndarray]:
    """Return all of these scores, name to float64 [n]."""
    scores = (negative_margin, mean_loss, doubt, learning_time, forgetting, final_loss)
    return {score.__name__: score(examples) for score in scores}
