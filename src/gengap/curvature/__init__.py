"""Second derivatives of a risk, and what is made of them: spectra, sharpness, paths, evidence."""

from ._keskar_sharpness import keskar_sharpness as keskar_sharpness
from ._sharpness import Sharpness as Sharpness
