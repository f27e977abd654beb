"""Gradients of single examples: norms, sums, inner products, and what they say together."""

from ._batch_coherence import (
    BatchCoherence as BatchCoherence,
    coherence_from_batches as coherence_from_batches,
    coherence_from_sums as coherence_from_sums,
)
from ._batch_norm import batch_statistics_layer as batch_statistics_layer
from ._blocks import per_example_gradients as per_example_gradients
from ._coherence import Coherence as Coherence
from ._disparity import gradient_disparity as gradient_disparity
from ._dots import (
    per_example_block_dots as per_example_block_dots,
    per_example_dots as per_example_dots,
)
from ._gram import gram as gram
from ._group_coherence import GroupCoherence as GroupCoherence
from ._intercept import intercepted as intercepted
from ._labelling import Labelling as Labelling
from ._layers import by_layer as by_layer
from ._measure_coherence import (
    check_evaluation_mode as check_evaluation_mode,
    coherence as coherence,
)
from ._meter import CoherenceMeter as CoherenceMeter, Reading as Reading
from ._minibatch_coherence import minibatch_coherence as minibatch_coherence
from ._minibatch_theorem import (
    alpha_of_batches as alpha_of_batches,
    alpha_of_examples as alpha_of_examples,
)
from ._pairwise import (
    gradient_confusion as gradient_confusion,
    stiffness as stiffness,
    stiffness_between as stiffness_between,
)
from ._part import OuterPart as OuterPart, Part as Part
from ._ranked import ranked_dots as ranked_dots, ranked_statistics as ranked_statistics
from ._recorder import Recorder as Recorder
from ._relatives import gradient_diversity as gradient_diversity, noise_scale as noise_scale
from ._signal_to_noise import gsnr as gsnr
from ._six_weights import six_weights as six_weights
from ._squares import sums_of_squares as sums_of_squares
from ._stability import (
    StabilityBound as StabilityBound,
    alphas_at_every_step as alphas_at_every_step,
    stability_bound as stability_bound,
    stability_bound_decaying_step as stability_bound_decaying_step,
    stability_bound_fixed_step as stability_bound_fixed_step,
)
from ._statistics import (
    GradientStatistics as GradientStatistics,
    gradient_statistics as gradient_statistics,
    per_example_squared_norms as per_example_squared_norms,
)
from ._view_coherence import ViewCoherence as ViewCoherence, view_coherence as view_coherence
from ._whereabouts import Whereabouts as Whereabouts
