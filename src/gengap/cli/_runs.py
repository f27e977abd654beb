"""`gengap runs list|show|export`: what is in a store."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, final

import tyro

from gengap._errors import StoreError, UsageError
from gengap.lab import Lab

from ._dispatch import Verb, dispatch
from ._options import parse
from ._output import print_columns, print_json
from ._where import check_columns, where

if TYPE_CHECKING:
    import pandas as pd

VERBS = {
    "list": Verb(__name__, "the trials, one a line", "run_list"),
    "show": Verb(__name__, "one trial: specification, result, history", "run_show"),
    "export": Verb(
        __name__, "trials, histories or probes of all trials as one table", "run_export"
    ),
}
COLUMNS = (
    *("trial", "status", "data", "model", "corruption", "seed"),
    *("epoch", "train_accuracy", "test_accuracy"),
)


@final
@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """List the trials of a store.

    Attributes:
        where: Conditions that a trial must meet, such as status=fitted, seed<3,
            test_accuracy>=0.9, corruption~labels (holds the word) or probability= (is missing).
        columns: What to show of each, in this order; --json tells all there are.
        out: The store: a folder, or any address that fsspec knows.
        json: Print JSON, with every column, and nothing else on standard output.
    """

    where: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    out: str = "gengap-runs"
    json: bool = False


@final
@dataclass(frozen=True, kw_only=True)
class ShowOptions:
    """Show one trial: its specification, its result and its history.

    Attributes:
        trial: The trial's id, or the beginning of it.
        out: The store: a folder, or any address that fsspec knows.
        json: Print JSON, and nothing else, on standard output.
    """

    trial: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TRIAL")]
    out: str = "gengap-runs"
    json: bool = False


@final
@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Write a table of all trials of a store: of themselves, or of what was measured in them.

    Attributes:
        file: Where to: a name that ends in .csv, .parquet, .json or .tex (LaTeX).
        what: A row a trial; or, of each complete trial, a row an epoch, a row a measurement of
            coherence, a row a measurement and null world (the share of the gradient that examples
            drawn at random have), or a row a training example (when it was learned, its mean
            margin, ...).
        where: Conditions that a trial must meet; see `gengap runs list --help`.
        columns: Which columns, in this order; by default all, of trials in LaTeX those that `gengap
            runs list` shows.
        out: The store: a folder, or any address that fsspec knows.
        json: Print JSON, and nothing else, on standard output.
    """

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    what: Literal["trials", "histories", "coherence", "null_worlds", "examples"] = "trials"
    where: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    out: str = "gengap-runs"
    json: bool = False


def main(arguments: Sequence[str]) -> int:
    """Run `gengap runs ...`; returns the exit code."""
    return dispatch("gengap runs", VERBS, arguments, description="What is in a store of trials.")


def run_list(arguments: Sequence[str]) -> int:
    """Print a line a trial; returns 0."""
    options = parse(ListOptions, arguments, program="gengap runs list")
    every = Lab(options.out).frame()
    frame = where(every, options.where) if len(every) else every
    if options.columns and len(every):
        check_columns("columns", every, options.columns)
        frame = frame[list(options.columns)]
    if options.json:
        print_json(_rows(frame))
    elif frame.empty:
        print(f"No {'such ' if len(every) else ''}trials in {options.out}.")
    elif options.columns:
        print_columns(_rows(frame))
    else:
        print_columns(_rows(frame.reindex(columns=list(COLUMNS))))
    return 0


def run_show(arguments: Sequence[str]) -> int:
    """Print one trial; returns 0."""
    options = parse(ShowOptions, arguments, program="gengap runs show")
    lab = Lab(options.out)
    name = _the_trial(lab, options.trial, options.out)
    (row,) = _rows(lab.frame().query("trial == @name"))
    shown: dict[str, object] = {"trial": name, "status": row["status"], "reason": row["reason"]}
    if row["status"] != "damaged":
        shown["specification"] = lab.store.files.read_json(f"trials/{name}/trial.json")
    history = _rows(lab.store.history(name)) if lab.store.is_complete(name) else []
    if options.json:
        print_json({**shown, "history": history})
        return 0
    for key, value in _flat(shown):
        print(f"{key}: {value}")
    print()
    print_columns(history)
    return 0


def run_export(arguments: Sequence[str]) -> int:
    """Write a table to a file and print its name; returns 0."""
    options = parse(ExportOptions, arguments, program="gengap runs export")
    write = _writer(options.file)
    lab = Lab(options.out)
    if not lab.store.trial_ids():
        raise StoreError(f"`out` must be a store with trials; there are none in {options.out!r}.")
    frame = _table(lab, options)
    if frame.empty:
        raise StoreError(
            f"`what` must be a table that some complete trial of {options.out!r} has"
            f"{' where that is so' if options.where else ''}; none has {options.what}."
        )
    if options.columns:
        check_columns("columns", frame, options.columns)
        frame = frame[list(options.columns)]
    elif options.file.suffix == ".tex" and options.what == "trials":
        frame = frame.reindex(columns=list(COLUMNS))
    options.file.parent.mkdir(parents=True, exist_ok=True)
    write(frame)
    if options.json:
        print_json({"file": options.file, "rows": len(frame)})
    else:
        print(f"{options.file}: {len(frame):,} rows")
    return 0


def _table(lab: Lab, options: ExportOptions) -> "pd.DataFrame":
    """Return a table of the trials that are asked for."""
    if options.what == "trials":
        return where(lab.frame(), options.where)
    trials = where(lab.frame(), options.where)["trial"].tolist() if options.where else None
    if options.what == "histories":
        return lab.history(trials)
    if options.what == "coherence":
        return lab.coherence(trials)
    if options.what == "null_worlds":
        return lab.null_worlds(trials)
    frame = lab.examples()
    return frame if trials is None else frame[frame["trial"].isin(trials)]


def _rows(frame: "pd.DataFrame") -> list[dict[str, object]]:
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def _the_trial(lab: Lab, beginning: str, out: str) -> str:
    """Return the one trial whose id begins so."""
    found = [name for name in lab.store.trial_ids() if name.startswith(beginning)]
    if beginning in found:
        return beginning
    if not found:
        raise UsageError(f"`trial` must be one of those in {out!r}; none begins {beginning!r}.")
    if len(found) > 1:
        raise UsageError(f"`trial` must name one trial; {len(found)} begin {beginning!r}.")
    return found[0]


def _writer(file: Path) -> "Callable[[pd.DataFrame], object]":
    """Return what writes a frame in the form that the file's name asks for."""
    writers: dict[str, Callable[[pd.DataFrame], object]] = {
        ".csv": lambda frame: frame.to_csv(file, index=False),
        ".parquet": lambda frame: frame.to_parquet(file, index=False),
        ".json": lambda frame: frame.to_json(file, orient="records", indent=1),
        ".tex": lambda frame: file.write_text(_latex(frame), encoding="utf-8"),
    }
    if file.suffix not in writers:
        raise UsageError(f"`file` must end in {', '.join(writers)}; got {str(file)!r}.")
    return writers[file.suffix]


def _latex(frame: "pd.DataFrame") -> str:
    from gengap.report import Table

    return Table(name="table", frame=frame).to_latex()


def _flat(value: Mapping[str, object], prefix: str = "") -> list[tuple[str, object]]:
    """Return the leaves of nested plain data with dotted names."""
    leaves: list[tuple[str, object]] = []
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            leaves += _flat(inner, f"{prefix}{key}.")
        else:
            leaves.append((f"{prefix}{key}", inner))
    return leaves
