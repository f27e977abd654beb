"""Splits: examples and targets, and how they are read, made and preprocessed."""

from ._augmentation import Augmentation as Augmentation
from ._preprocessing import Preprocessing as Preprocessing
from ._source import Source as Source
from ._split import Split as Split
from ._subset import SubsetSource as SubsetSource
