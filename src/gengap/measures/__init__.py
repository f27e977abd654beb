"""The catalogue: every number that is measured of a trained network, with what it stands for."""

from ._catalogue import MEASURES as MEASURES, catalogue as catalogue
from ._cka import Similarity as Similarity, cka as cka, linear_cka as linear_cka
from ._correlation import class_correlation as class_correlation
from ._evaluate import evaluate as evaluate
from ._fit import margins as margins
from ._linear_probe import LinearProbe as LinearProbe, fit_probe as fit_probe
from ._maximum_entropy import (
    LayerConditions as LayerConditions,
    MaximumEntropy as MaximumEntropy,
    activations as activations,
    maximum_entropy as maximum_entropy,
    moment_residual as moment_residual,
)
from ._measure import Measure as Measure, Question as Question, Value as Value
