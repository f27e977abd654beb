"""What a network can express, and what bounds say about it: constructions, capacity, stability."""

from ._bias_variance import (
    BiasVariance as BiasVariance,
    bias_variance as bias_variance,
    bias_variance_curve as bias_variance_curve,
)
from ._bound import Bound as Bound
from ._dense_layers import dense_layers as dense_layers
from ._gap_decomposition import (
    GapDecomposition as GapDecomposition,
    gap_decomposition as gap_decomposition,
)
from ._ising_bounds import (
    consistent_bound as consistent_bound,
    rightmost_crossing as rightmost_crossing,
)
from ._learning_curves import (
    IsingTransition as IsingTransition,
    LearningCurve as LearningCurve,
    annealed_exponent as annealed_exponent,
    effective_load as effective_load,
    ising_transition as ising_transition,
    learning_curve as learning_curve,
    stationary_load as stationary_load,
    student_entropy as student_entropy,
)
from ._linear_class import (
    LinearComplexity as LinearComplexity,
    linear_complexity as linear_complexity,
    linear_supremum as linear_supremum,
)
from ._localized import Localized as Localized, localized_averages as localized_averages
from ._margins import (
    NormalizedMargins as NormalizedMargins,
    normalized_margins as normalized_margins,
)
from ._memorize import memorize as memorize
from ._memorized import Achieved as Achieved, Memorized as Memorized
from ._norm_ball import NormBall as NormBall, bounded as bounded
from ._norm_bounds import (
    BoundName as BoundName,
    capacity_bounds as capacity_bounds,
    norm_complexity as norm_complexity,
)
from ._rademacher import Rademacher as Rademacher, rademacher as rademacher
from ._ramps import Ramps as Ramps
from ._retraining import leave_one_out as leave_one_out, replace_one as replace_one
from ._stability import Stability as Stability
from ._teacher_student import TeacherStudent as TeacherStudent, teacher_student as teacher_student
from ._two_phase import (
    TwoPhase as TwoPhase,
    fit_two_phase as fit_two_phase,
    two_phase_bound as two_phase_bound,
)
from ._validation_bound import validation_bound as validation_bound
