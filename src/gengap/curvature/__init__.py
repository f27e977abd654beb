"""Second derivatives of a risk, and what is made of them: spectra, sharpness, paths, evidence."""

from ._filter_normalized import (
    filter_normalized_directions as filter_normalized_directions,
    filter_normalized_line as filter_normalized_line,
    filter_normalized_plane as filter_normalized_plane,
)
from ._keskar_sharpness import keskar_sharpness as keskar_sharpness
from ._line import curve as curve, line as line
from ._patch import quad as quad, triangle as triangle
from ._plane import plane as plane, plane_along as plane_along
from ._profile import (
    Bump as Bump,
    Profile as Profile,
    barrier as barrier,
    monotonicity as monotonicity,
)
from ._sharpness import Sharpness as Sharpness
from ._surface import Surface as Surface
from ._trajectory import Trajectory as Trajectory, trajectory as trajectory
