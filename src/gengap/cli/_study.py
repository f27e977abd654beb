"""`gengap study list|run`: a paper's tables, figures and claims, its numbers beside ours."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, final

import tyro

from gengap import studies
from gengap._checks import check_choice, check_count

from ._dispatch import Verb, dispatch
from ._options import ReportFlag, parse
from ._output import print_json
from ._progress import trial_progress

if TYPE_CHECKING:
    from gengap.studies import StudyResult

VERBS = {
    "list": Verb(__name__, "the papers there are", "run_list"),
    "run": Verb(__name__, "run a paper's trials; write its tables, figures and claims", "run_run"),
}


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
        scale: smoke takes seconds, small hours on two cores, paper a GPU.
        seeds: How many seeds, counted from --seed; by default as many as the study asks for.
        only_finished: Train nothing; tell what is complete in the store.
        page: Also write the page in Markdown to this file, its pictures in a folder beside it.
        lanes: Runs trained together as one vectorized program.
        workers: Processes that run trials; of Ray, most groups at a time.
        engine: local; ray: a Ray cluster, which trains each group of runs where there is room; or
            torchrun: the processes that torchrun started, all of which train each run together.
        address: Where the Ray cluster is, such as auto, or ray://host:10001; by default the one
            that RAY_ADDRESS names, else that of this machine, which is started if need be.
        gpus: GPUs that a group asks of Ray; below 1 a share of one.
        checkpoints: A folder that every machine of the cluster sees, so that what a lost machine
            was at goes on from its last checkpoint.
        track: Show trials as they end to tensorboard, mlflow or wandb (offline), beside the store.
        report: Write report.html.
        out: Where trials and report go: a folder, or any address that fsspec knows; what is
            complete there is not run again.
        seed: The first seed.
        device: Where to train; auto takes a CUDA device where there is one.
        json: Print JSON, and nothing else, on standard output.
    """

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    scale: Literal["smoke", "small", "paper"] = "smoke"
    seeds: int | None = None
    only_finished: bool = False
    page: Path | None = None
    lanes: int | Literal["auto"] = "auto"
    workers: int | Literal["auto"] = "auto"
    engine: Literal["local", "ray", "torchrun"] = "local"
    address: str | None = None
    gpus: float | None = None
    checkpoints: str | None = None
    track: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = ()
    report: ReportFlag = True
    out: str = "gengap-runs"
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    json: bool = False

    def __post_init__(self) -> None:
        if self.seeds is not None:
            check_count("seeds", self.seeds)
        for name in ("lanes", "workers"):
            if getattr(self, name) != "auto":
                check_count(name, getattr(self, name))


def main(arguments: Sequence[str]) -> int:
    """Run `gengap study ...`; returns the exit code."""
    description = "Papers whose tables, figures and claims can be run again."
    return dispatch("gengap study", VERBS, arguments, description=description)


def run_list(arguments: Sequence[str]) -> int:
    """Print the studies; returns 0."""
    options = parse(StudyListOptions, arguments, program="gengap study list")
    found = studies.names()
    if options.json:
        print_json([
            {"name": name, "title": study.title, "summary": study.summary}
            for name, study in found.items()
        ])
        return 0
    for name, study in found.items():
        print(f"{name}  {study.title}\n{' ' * len(name)}  {study.summary}")
    return 0


def run_run(arguments: Sequence[str]) -> int:
    """Run a study and print its tables and claims; returns 1 if a claim is not supported."""
    options = parse(StudyRunOptions, arguments, program="gengap study run")
    check_choice("name", options.name, studies.names())
    from ._lab import leads, open_lab

    lab = open_lab(options)
    with trial_progress(None) as progress:
        result = studies.run(
            options.name,
            options.scale,
            lab=lab,
            seeds=_seeds(options),
            train=not options.only_finished,
            progress=progress,
        )
    if not leads():
        return 0
    base = lab.store.files.local or Path("gengap-runs")
    page = result.save(base / "studies" / result.name) if options.report else None
    if options.page is not None:
        result.save_page(options.page)
    _print(result, page, json=options.json)
    return int(result.refuted)


def _seeds(options: StudyRunOptions) -> range | None:
    """Return the seeds asked for; None where they are the study's own."""
    if options.seeds is None and not options.seed:
        return None
    count = 3 if options.seeds is None else options.seeds
    return range(options.seed, options.seed + count)


def _print(result: "StudyResult", page: Path | None, *, json: bool) -> None:
    if json:
        print_json({
            "study": result.name,
            "claims": [dataclasses.asdict(claim) for claim in result.claims],
            "tables": {t.name: _records(t.frame.to_dict("records")) for t in result.tables},
            "deviations": list(result.deviations),
            "report": page,
        })
        return
    from gengap.report import print_claims, print_table

    for table in result.tables:
        print_table(table)
        print()
    print_claims(result.claims)
    print(f"\n{result.cost}")
    if page is not None:
        print(f"Report: {page}")


def _records(rows: Sequence[object]) -> list[dict[str, object]]:
    """Return rows as plain data; a mean over seeds becomes its mean, spread and count."""
    found = []
    for row in rows:
        assert isinstance(row, dict)
        found.append({
            str(key): dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value  # type: ignore[arg-type]
            for key, value in row.items()
        })
    return found
