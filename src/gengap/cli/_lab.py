"""The lab that the common options of a verb ask for."""

from typing import Literal, Protocol

from gengap.lab import Lab, TrackerName

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
    def track(self) -> tuple[TrackerName, ...]: ...


def open_lab(options: LabOptions) -> Lab:
    """Return the lab; "auto" leaves lanes and workers to it."""
    return Lab(
        options.out,
        device=options.device,
        lanes=None if options.lanes == "auto" else options.lanes,
        workers=None if options.workers == "auto" else options.workers,
        track=options.track,
    )
