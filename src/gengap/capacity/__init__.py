"""What a network can express, and what bounds say about it: constructions, capacity, stability."""

from ._bound import Bound as Bound
from ._dense_layers import dense_layers as dense_layers
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
from ._memorize import memorize as memorize
from ._memorized import Achieved as Achieved, Memorized as Memorized
from ._norm_ball import NormBall as NormBall, bounded as bounded
from ._rademacher import Rademacher as Rademacher, rademacher as rademacher
from ._ramps import Ramps as Ramps
from ._retraining import leave_one_out as leave_one_out, replace_one as replace_one
from ._stability import Stability as Stability
from ._teacher_student import TeacherStudent as TeacherStudent, teacher_student as teacher_student
