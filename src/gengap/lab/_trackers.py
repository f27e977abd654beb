"""Which trackers there are; each is imported when it is asked for."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from gengap._checks import check_choice

from ._store import Store
from ._tracking import Tracker

TrackerName = Literal["tensorboard", "mlflow", "wandb"]
"""Trackers that come with a name; each needs its package."""
Track = TrackerName | Tracker | Sequence[TrackerName | Tracker] | None

_HOME_OF = {
    "tensorboard": ("_tensorboard", "TensorBoard"),
    "mlflow": ("_mlflow", "MLflow"),
    "wandb": ("_wandb", "WandB"),
}


def open_trackers(track: Track, store: Store) -> list[Tracker]:
    """Return the trackers that `track` names; they write beside the trials.

    A store that is no local folder is tracked in the folder `gengap-runs`.

    Raises:
        ImportError: A package is missing.
    """
    if track is None:
        return []
    asked = [track] if isinstance(track, str | Tracker) else list(track)
    folder = store.files.local or Path("gengap-runs")
    return [one if isinstance(one, Tracker) else _opened(one, folder) for one in asked]


def _opened(name: str, folder: Path) -> Tracker:
    check_choice("track", name, tuple(_HOME_OF))
    home, kind = _HOME_OF[name]
    try:
        module = importlib.import_module(f"gengap.lab.{home}")
    except ModuleNotFoundError as error:
        raise ImportError(
            f"`track={name!r}` needs the package {error.name!r}; install it with: pip install "
            f"'gengap[{name}]'."
        ) from error
    tracker: Tracker = getattr(module, kind)(folder)
    return tracker
