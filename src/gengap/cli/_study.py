"""`gengap study list|run`: their options."""

from dataclasses import dataclass
from typing import Annotated, Literal, final

import tyro

from gengap._checks import check_count


@final
@dataclass(frozen=True, kw_only=True)
class StudyListOptions:
    """List the studies: papers whose tables, figures and claims can be run again.

    Attributes:
        json: Print JSON, and nothing else, on standard output.
    """

    json: bool = False


@final
@dataclass(frozen=True, kw_only=True)
class StudyRunOptions:
    """Run a paper's tables, figures and claims; its numbers stand beside ours.

    Attributes:
        name: A study, as `gengap study list` names it.
        scale: smoke takes seconds, small about an hour on two cores, paper a GPU.
        lanes: Runs trained together as one vectorized program.
        workers: Processes that run trials.
        report: Write report.html.
        out: Where trials and report go: a folder, or any address that fsspec knows; what is
            complete there is not run again.
        seed: The first seed.
        device: Where to train; auto takes a CUDA device where there is one.
        json: Print JSON, and nothing else, on standard output.
    """

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    scale: Literal["smoke", "small", "paper"] = "smoke"
    lanes: int | Literal["auto"] = "auto"
    workers: int | Literal["auto"] = "auto"
    report: bool = True
    out: str = "gengap-runs"
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    json: bool = False

    def __post_init__(self) -> None:
        for name in ("lanes", "workers"):
            if getattr(self, name) != "auto":
                check_count(name, getattr(self, name))
