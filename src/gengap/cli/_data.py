"""`gengap data list|get|verify`: the built-in data sets and their files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, final

import tyro

from gengap import data
from gengap._errors import UsageError

from ._dispatch import Verb, dispatch
from ._options import parse
from ._output import print_columns, print_json

VERBS = {
    "list": Verb(__name__, "what there is, how large, under what licence", "run_list"),
    "get": Verb(__name__, "download the files that are missing or damaged", "run_get"),
    "verify": Verb(__name__, "check the size and checksum of every file", "run_verify"),
}
Names = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME ...")]
EPILOGUE = "The files lie in `--root`, else in $GENGAP_DATA, else in the user's cache."


@final
@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """List the built-in data sets.

    Attributes:
        json: Print JSON, and nothing else, on standard output.
    """

    json: bool = False


@final
@dataclass(frozen=True, kw_only=True)
class GetOptions:
    """Download the files of data sets that are missing or damaged, and check them.

    Attributes:
        names: Data sets, as `gengap data list` names them.
        root: The folder that holds a folder for each data set; by default $GENGAP_DATA, then the
            user's cache.
        json: Print JSON, and nothing else, on standard output.
    """

    names: Names = ()
    root: Path | None = None
    json: bool = False


@final
@dataclass(frozen=True, kw_only=True)
class VerifyOptions:
    """Check the size and checksum of every file; exit code 1 if one is wrong or missing.

    Attributes:
        names: Data sets, as `gengap data list` names them; without names, those that are here.
        root: The folder that holds a folder for each data set; by default $GENGAP_DATA, then the
            user's cache.
        json: Print JSON, and nothing else, on standard output.
    """

    names: Names = ()
    root: Path | None = None
    json: bool = False


def main(arguments: Sequence[str]) -> int:
    """Run `gengap data ...`; returns the exit code."""
    return dispatch(
        "gengap data",
        VERBS,
        arguments,
        description="The built-in data sets and their files.",
        epilogue=EPILOGUE,
    )


def run_list(arguments: Sequence[str]) -> int:
    """Print the table of data sets; returns 0."""
    options = parse(ListOptions, arguments, program="gengap data list")
    entries = data.names().values()
    if options.json:
        print_json([
            {
                "name": entry.name,
                "description": entry.description,
                "train": entry.num_train,
                "test": entry.num_test,
                "shape": entry.shape,
                "classes": entry.class_names,
                "download_bytes": entry.download_bytes,
                "licence": entry.licence,
                "citation": entry.citation,
            }
            for entry in entries
        ])
        return 0
    print_columns([
        {
            "name": entry.name,
            "train": entry.num_train,
            "test": entry.num_test,
            "classes": len(entry.class_names),
            "download": f"{entry.download_bytes / 1e6:.0f} MB" if entry.files else "none",
            "what": entry.description,
        }
        for entry in entries
    ])
    return 0


def run_get(arguments: Sequence[str]) -> int:
    """Download data sets and print their folders; returns 0."""
    options = parse(GetOptions, arguments, program="gengap data get")
    if not options.names:
        raise UsageError(f"`names` must be one or more of {', '.join(data.names())}; got none.")
    _check_names(options.names)
    rows = []
    for name in options.names:
        folder = data.get(name, root=options.root, progress=True)
        here = "comes with scikit-learn" if not data.names()[name].files else str(folder)
        rows.append({"name": name, "folder": here})
        if not options.json:
            print(f"{name}: {here}")
    if options.json:
        print_json(rows)
    return 0


def run_verify(arguments: Sequence[str]) -> int:
    """Check files and print a row for each; returns 1 if one is wrong, else 0."""
    options = parse(VerifyOptions, arguments, program="gengap data verify")
    _check_names(options.names)
    rows: list[dict[str, object]] = []
    absent: list[str] = []
    for name in options.names or data.names():
        checks = data.verify(name, root=options.root)
        if not options.names and not any(check.ok or Path(check.file).exists() for check in checks):
            absent.append(name)
            continue
        for check in checks:
            rows.append({"data": name, "ok": check.ok, "file": check.file, "what": check.detail})
    if options.json:
        print_json(rows)
    else:
        print_columns(rows)
        if absent:
            print(f"Not here, and not checked: {', '.join(absent)}.")
    return 0 if all(row["ok"] for row in rows) else 1


def _check_names(names: Sequence[str]) -> None:
    """Refuse the whole command before anything is done for a part of it."""
    for name in names:
        if name not in data.names():
            raise UsageError(f"`names` must be of {', '.join(data.names())}; got {name!r}.")
