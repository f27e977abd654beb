"""Changes of parameters that keep a network's function: found, applied, and used as a test."""

from ._find import find as find
from ._symmetries import (
    Permutation as Permutation,
    Rescaling as Rescaling,
    Symmetries as Symmetries,
)
