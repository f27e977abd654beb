"""Changes of parameters that keep a network's function: found, applied, and used as a test."""

from ._eigenvalue_theorem import (
    RaisedEigenvalues as RaisedEigenvalues,
    raise_eigenvalues as raise_eigenvalues,
)
from ._epsilon_sharpness import (
    SharpenedWithin as SharpenedWithin,
    sharpen_within as sharpen_within,
)
from ._find import find as find
from ._invariance import invariance as invariance
from ._orbit_minimum import OrbitMinimum as OrbitMinimum, orbit_minimum as orbit_minimum
from ._reparametrize import (
    Bijection as Bijection,
    Coordinates as Coordinates,
    InputsReparametrized as InputsReparametrized,
    Radial as Radial,
    Reparametrized as Reparametrized,
    WeightNorm as WeightNorm,
    reparametrize as reparametrize,
)
from ._rescale import (
    Transformed as Transformed,
    permute as permute,
    rescale as rescale,
    transform as transform,
)
from ._symmetries import (
    Permutation as Permutation,
    Rescaling as Rescaling,
    Symmetries as Symmetries,
)
