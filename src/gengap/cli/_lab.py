"""The lab that the common options of a verb ask for."""

from typing import Literal, Protocol

from gengap._errors import UsageError
from gengap.data import current_ranks
from gengap.lab import Engine, Lab, RayEngine, TrackerName

Count = int | Literal["auto"]


class LabOptions(Protocol):
    """The options that say where and how trials run."""

    @property
    def out(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def lanes(self) -> Count: ...
    @property
    def workers(self) -> Count: ...
    @property
    def engine(self) -> Literal["local", "ray", "torchrun"]: ...
    @property
    def address(self) -> str | None: ...
    @property
    def gpus(self) -> float | None: ...
    @property
    def checkpoints(self) -> str | None: ...
    @property
    def track(self) -> tuple[TrackerName, ...]: ...


def open_lab(options: LabOptions) -> Lab:
    """Return the lab; "auto" leaves lanes and workers to it."""
    workers = None if options.workers == "auto" else options.workers
    return Lab(
        options.out,
        engine=_engine(options, workers),
        device=options.device,
        lanes=None if options.lanes == "auto" else options.lanes,
        workers=workers,
        track=options.track,
    )


def leads() -> bool:
    """Return whether this process writes and prints: that of rank 0, where several train."""
    return current_ranks().rank == 0


def _engine(options: LabOptions, workers: int | None) -> Literal["local", "torchrun"] | Engine:
    if options.engine == "ray":
        return RayEngine(
            options.address,
            gpus=options.gpus,
            workers=workers,
            checkpoints=options.checkpoints,
        )
    for name in ("address", "gpus", "checkpoints"):
        if getattr(options, name) is not None:
            raise UsageError(f"`{name}` is for `--engine ray`; got {options.engine!r}.")
    return "torchrun" if options.engine == "torchrun" else "local"
