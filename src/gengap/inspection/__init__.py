"""Looks at a data set's examples, for wrong labels, and at the surroundings of a network."""

from ._estimator import is_estimator as is_estimator
from ._labels import Labels as Labels, labels as labels
from ._landscape import Landscape as Landscape, landscape as landscape
