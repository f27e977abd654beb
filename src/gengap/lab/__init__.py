"""The lab: trials, the store that keeps them, the engines that run them."""

from ._engine import Engine as Engine, LocalEngine as LocalEngine
from ._group import Group as Group, Progress as Progress, train_group as train_group
from ._ingredients import MODELS as MODELS, Data as Data, Model as Model
from ._lab import Lab as Lab
from ._measurement import Measurement as Measurement
from ._plain import corruption_text as corruption_text, digest as digest, plain as plain
from ._ray_engine import RayEngine as RayEngine
from ._store import Store as Store, versions as versions
from ._torchrun_engine import TorchrunEngine as TorchrunEngine
from ._trackers import TrackerName as TrackerName
from ._tracking import Tracked as Tracked, Tracker as Tracker
from ._trial import Trial as Trial
