"""The randomizations: pure, seeded, composable changes of a split."""

from ._corruption import Corruption as Corruption
from ._gaussian_pixels import GaussianPixels as GaussianPixels
from ._random_labels import RandomLabels as RandomLabels
from ._random_pixels import RandomPixels as RandomPixels
from ._shuffled_pixels import ShuffledPixels as ShuffledPixels
