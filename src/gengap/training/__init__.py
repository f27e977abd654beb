"""How networks are trained: recipes, runs, lanes."""

from ._example_probe import ExampleProbe as ExampleProbe
from ._fit import (
    build_seeded as build_seeded,
    fit as fit,
    fit_lanes as fit_lanes,
    make_run as make_run,
    make_trainer as make_trainer,
    pick_device as pick_device,
)
from ._fit_checks import (
    check_fit as check_fit,
    check_training as check_training,
)
from ._lane import Lane as Lane
from ._packing import (
    Packing as Packing,
    available_cores as available_cores,
    choose_packing as choose_packing,
)
from ._probed import Probed as Probed
from ._probes import Probes as Probes
from ._processes import map_processes as map_processes, send_message as send_message
from ._program import LanesUnavailable as LanesUnavailable
from ._recipe import OptimizerName as OptimizerName, Recipe as Recipe
from ._run import Run as Run
from ._schedules import (
    Constant as Constant,
    Cosine as Cosine,
    Exponential as Exponential,
    Schedule as Schedule,
    Step as Step,
)
from ._stopping import kept_row as kept_row
from ._trainer import Outcome as Outcome, Trainer as Trainer
