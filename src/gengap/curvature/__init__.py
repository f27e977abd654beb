"""Second derivatives of a risk, and what is made of them: spectra, sharpness, paths, evidence."""

from ._ball_sharpness import ball_sharpness as ball_sharpness
from ._bezier import Bezier as Bezier, bezier as bezier
from ._connectivity import Connectivity as Connectivity, mode_connectivity as mode_connectivity
from ._curvature import Curvature as Curvature
from ._diagonal import Diagonal as Diagonal, diagonal as diagonal
from ._disjoint_boxes import DisjointBoxes as DisjointBoxes, disjoint_boxes as disjoint_boxes
from ._effective_rank import effective_rank as effective_rank, participation as participation
from ._eigenpairs import (
    Eigenpairs as Eigenpairs,
    bottom_eigenpairs as bottom_eigenpairs,
    top_eigenpairs as top_eigenpairs,
)
from ._estimate import Estimate as Estimate
from ._evidence import Evidence as Evidence, log_evidence as log_evidence
from ._filter_normalized import (
    filter_normalized_directions as filter_normalized_directions,
    filter_normalized_line as filter_normalized_line,
    filter_normalized_plane as filter_normalized_plane,
)
from ._fisher import fisher as fisher
from ._fisher_rao import FisherRaoNorm as FisherRaoNorm, fisher_rao_norm as fisher_rao_norm
from ._flat_risk import FlatRisk as FlatRisk
from ._frobenius_norm import frobenius_norm as frobenius_norm
from ._gauss_newton import gauss_newton as gauss_newton
from ._gauss_newton_diagonal import (
    NotConvexError as NotConvexError,
    gauss_newton_diagonal as gauss_newton_diagonal,
)
from ._hessian import hessian as hessian
from ._keskar_sharpness import keskar_sharpness as keskar_sharpness
from ._line import curve as curve, line as line
from ._log_determinant import log_determinant as log_determinant
from ._noise_scale import (
    Optimum as Optimum,
    batch_size_for as batch_size_for,
    noise_scale as noise_scale,
    optimum_batch_size as optimum_batch_size,
)
from ._pac_bayes_sigma import PacBayesSigma as PacBayesSigma, pac_bayes_sigma as pac_bayes_sigma
from ._patch import quad as quad, triangle as triangle
from ._plane import plane as plane, plane_along as plane_along
from ._posterior_mode import PosteriorMode as PosteriorMode, posterior_mode as posterior_mode
from ._profile import (
    Bump as Bump,
    Profile as Profile,
    barrier as barrier,
    monotonicity as monotonicity,
)
from ._relative_flatness import (
    RelativeFlatness as RelativeFlatness,
    relative_flatness as relative_flatness,
)
from ._sam_sharpness import sam_sharpness as sam_sharpness
from ._sharpness import Sharpness as Sharpness
from ._spectral_density import (
    SpectralDensity as SpectralDensity,
    spectral_density as spectral_density,
)
from ._surface import Surface as Surface
from ._trace import trace as trace
from ._trajectory import Trajectory as Trajectory, trajectory as trajectory
from ._volume_flatness import VolumeFlatness as VolumeFlatness, volume_flatness as volume_flatness
