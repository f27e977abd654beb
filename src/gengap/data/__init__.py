"""Splits: examples and targets, and how they are read, made and preprocessed."""

from ._as_split import as_split as as_split, as_splits as as_splits
from ._augmentation import Augmentation as Augmentation
from ._built_in import BuiltIn as BuiltIn, DataFile as DataFile, names as names
from ._checksum import FileCheck as FileCheck, verify as verify
from ._classes_in_common import check_classes as check_classes
from ._dataset_source import DatasetSource as DatasetSource
from ._download import get as get
from ._image_folder import ImageFolderSource as ImageFolderSource
from ._load import load as load
from ._preprocessing import Preprocessing as Preprocessing
from ._ranks import Part as Part, Ranks as Ranks, current_ranks as current_ranks
from ._root import find_folder as find_folder, roots as roots
from ._source import Source as Source
from ._split import Split as Split
from ._subset import SubsetSource as SubsetSource
from ._synthetic import (
    gaussian_clusters as gaussian_clusters,
    teacher_student as teacher_student,
)
