"""The main job: which trials an audit runs, which tables and sentences come of them."""

from ._audit import LEVELS as LEVELS, PROBE as PROBE, Audit as Audit, audit as audit
from ._claims import claims as claims, rademacher_bound as rademacher_bound
from ._coherence import (
    coherence as coherence,
    coherence_claims as coherence_claims,
    with_coherence as with_coherence,
)
from ._kernel_twin import kernel_twin as kernel_twin
from ._phase_plane import PhasePlane as PhasePlane, phase_plane as phase_plane
from ._plan import DataSet as DataSet, Planned as Planned, data_sets as data_sets, plan as plan
from ._results import FITTED as FITTED, results as results, summary as summary
from ._verdict import EVERY_SEED as EVERY_SEED, verdict as verdict
