"""The catalogue: every number that is measured of a trained network, with what it stands for."""

from ._catalogue import MEASURES as MEASURES, catalogue as catalogue
from ._cka import Similarity as Similarity, cka as cka, linear_cka as linear_cka
from ._evaluate import evaluate as evaluate
from ._fit import margins as margins
from ._measure import Measure as Measure, Question as Question, Value as Value
