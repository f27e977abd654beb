"""Optimizers that suppress weak directions, and regularizers on what a network gives."""

from ._darc1 import DARC1 as DARC1
from ._of_three import mean_of_three as mean_of_three, median_of_three as median_of_three
from ._regularizer import Regularizer as Regularizer, penalties as penalties
from ._representation_coherence import (
    RepresentationCoherence as RepresentationCoherence,
    representation_coherence as representation_coherence,
)
from ._robust_mean import (
    RobustMean as RobustMean,
    trimmed_mean as trimmed_mean,
    winsorized_mean as winsorized_mean,
)
from ._robust_ranks import ranked_products as ranked_products, ranked_rows as ranked_rows
from ._robust_sgd import (
    RobustRecorder as RobustRecorder,
    RobustSGD as RobustSGD,
    TrimmedMeanSGD as TrimmedMeanSGD,
    WinsorizedSGD as WinsorizedSGD,
)
from ._three_gradients import (
    MeanOfThree as MeanOfThree,
    MedianOfThree as MedianOfThree,
    RollingMeanOfThree as RollingMeanOfThree,
    RollingMedianOfThree as RollingMedianOfThree,
    ThreeGradients as ThreeGradients,
)
