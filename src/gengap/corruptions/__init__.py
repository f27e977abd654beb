"""The randomizations: pure, seeded, composable changes of a split."""

from ._added_noise import AddedNoise as AddedNoise
from ._compose import Compose as Compose
from ._corruption import Corruption as Corruption
from ._gaussian_pixels import GaussianPixels as GaussianPixels
from ._labels_from_file import LabelsFromFile as LabelsFromFile
from ._pair_flip import PairFlip as PairFlip
from ._random_labels import RandomLabels as RandomLabels
from ._random_pixels import RandomPixels as RandomPixels
from ._shuffled_pixels import ShuffledPixels as ShuffledPixels
from ._symmetric_noise import SymmetricNoise as SymmetricNoise
from ._transition_matrix import TransitionMatrix as TransitionMatrix
