"""Scores of single examples: how much each has to be memorized, and whether its label is wrong."""

from ._detection import (
    Estimate as Estimate,
    auroc as auroc,
    average_precision as average_precision,
    detection as detection,
)
from ._example_scores import (
    doubt as doubt,
    example_scores as example_scores,
    final_loss as final_loss,
    forgetting as forgetting,
    learning_time as learning_time,
    mean_loss as mean_loss,
    negative_margin as negative_margin,
)
from ._held_out import (
    HELD_OUT_SCORES as HELD_OUT_SCORES,
    held_out_probabilities as held_out_probabilities,
    rank_by_probabilities as rank_by_probabilities,
    usable_folds as usable_folds,
)
from ._network_scores import (
    error_norm as error_norm,
    gradient_norm as gradient_norm,
    misalignment as misalignment,
    network_scores as network_scores,
)
from ._rank_labels import SCORES as SCORES, rank_labels as rank_labels
