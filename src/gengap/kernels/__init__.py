"""Minimum-norm interpolation: the function of least norm through all examples.

The estimators need scikit-learn, which is imported when they are first asked for.
"""

import importlib
from typing import TYPE_CHECKING

from ._bandwidth import (
    leave_one_out_bandwidth as leave_one_out_bandwidth,
    median_bandwidth as median_bandwidth,
)
from ._double_descent import LinearDescent as LinearDescent, SimulatedRisk as SimulatedRisk
from ._feature_trend import TrendPoint as TrendPoint, feature_trend as feature_trend
from ._functions import (
    arc_cosine as arc_cosine,
    gaussian as gaussian,
    laplace as laplace,
    linear as linear,
    polynomial as polynomial,
)
from ._gabor import GaborFeatures as GaborFeatures
from ._memory import solve_bytes as solve_bytes
from ._random_convolutions import (
    FilterBank as FilterBank,
    RandomConvolutions as RandomConvolutions,
)
from ._random_fourier import RandomFourier as RandomFourier

if TYPE_CHECKING:
    from ._interpolator import (
        KernelInterpolator as KernelInterpolator,
        KernelInterpolatorClassifier as KernelInterpolatorClassifier,
    )
    from ._ridge_path import (
        RidgePath as RidgePath,
        RidgePathClassifier as RidgePathClassifier,
    )

_HOME_OF = {
    "KernelInterpolator": "_interpolator",
    "KernelInterpolatorClassifier": "_interpolator",
    "RidgePath": "_ridge_path",
    "RidgePathClassifier": "_ridge_path",
}


def __getattr__(name: str) -> object:
    """Import an estimator when it is first asked for."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'gengap.kernels' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted({name for name in globals() if not name.startswith("_")} | set(_HOME_OF))
