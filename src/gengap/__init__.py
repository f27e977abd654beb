"""gengap measures, explains and narrows the gap between memorizing and learning.

The nouns that everyone needs are here, the rest in the subpackages. Everything is imported when
it is first used: `import gengap` costs nothing that is not asked for.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gengap import (
        callbacks as callbacks,
        capacity as capacity,
        corruptions as corruptions,
        curvature as curvature,
        data as data,
        gradients as gradients,
        kernels as kernels,
        lab as lab,
        measures as measures,
        memorization as memorization,
        models as models,
        optim as optim,
        report as report,
        risk as risk,
        studies as studies,
        symmetries as symmetries,
        training as training,
    )
    from gengap._errors import (
        DataError as DataError,
        GengapError as GengapError,
        StoreError as StoreError,
        UsageError as UsageError,
        WorkerError as WorkerError,
    )
    from gengap.auditing import Audit as Audit, audit as audit
    from gengap.data import Split as Split, load as load
    from gengap.gradients import (
        Coherence as Coherence,
        CoherenceMeter as CoherenceMeter,
        coherence as coherence,
    )
    from gengap.inspection import Labels as Labels, labels as labels
    from gengap.lab import Lab as Lab, Trial as Trial
    from gengap.risk import Risk as Risk
    from gengap.training import (
        Lane as Lane,
        Probes as Probes,
        Recipe as Recipe,
        Run as Run,
        fit as fit,
        fit_lanes as fit_lanes,
    )

_HOME_OF = {
    "DataError": "gengap._errors",
    "GengapError": "gengap._errors",
    "StoreError": "gengap._errors",
    "UsageError": "gengap._errors",
    "WorkerError": "gengap._errors",
    "Split": "gengap.data",
    "load": "gengap.data",
    "Coherence": "gengap.gradients",
    "CoherenceMeter": "gengap.gradients",
    "coherence": "gengap.gradients",
    "Risk": "gengap.risk",
    "Lane": "gengap.training",
    "Probes": "gengap.training",
    "Recipe": "gengap.training",
    "Run": "gengap.training",
    "fit": "gengap.training",
    "fit_lanes": "gengap.training",
    "Lab": "gengap.lab",
    "Trial": "gengap.lab",
    "Audit": "gengap.auditing",
    "audit": "gengap.auditing",
    "Labels": "gengap.inspection",
    "labels": "gengap.inspection",
}
_SUBPACKAGES = (
    *("callbacks", "capacity", "corruptions", "curvature", "data", "gradients", "kernels", "lab"),
    *("measures", "memorization", "models", "optim", "report", "risk", "studies"),
    *("symmetries", "training"),
)


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name in _SUBPACKAGES:
        return importlib.import_module(f"gengap.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'gengap' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted([*_HOME_OF, *_SUBPACKAGES, "__version__"])
