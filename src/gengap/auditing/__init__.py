"""The main job: which trials an audit runs, which tables and sentences come of them."""

from ._audit import LEVELS as LEVELS, Audit as Audit, audit as audit
from ._claims import claims as claims, rademacher_bound as rademacher_bound, verdict as verdict
from ._plan import DataSet as DataSet, Planned as Planned, data_sets as data_sets, plan as plan
from ._results import FITTED as FITTED, results as results, summary as summary
