"""`gengap measure`: every measure of a trained network."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, final

import torch
import tyro

from gengap._checks import check_count
from gengap._streams import streams
from gengap.data import Split
from gengap.lab import digest, plain
from gengap.measures import MEASURES, Measure, catalogue, evaluate
from gengap.report import Command, Report, Section, Specification, Table, versions
from gengap.risk import Risk
from gengap.training import pick_device

from ._kept_rows import KeptRows, identity
from ._options import ChartsFlag, ReportFlag, parse
from ._output import print_columns, print_json
from ._own_measures import check_names, find_measures, own, refuted, sources
from ._progress import progress
from ._trained import Trained, find_trained

if TYPE_CHECKING:
    import pandas as pd

    from gengap.inspection import Landscape

_RESCALING = {True: "no", False: "yes", None: "partly"}
_FORMATS = {"value": ".4g", "±": ".2g", "passes": ".1f", "seconds": ".2f"}


@final
@dataclass(frozen=True, kw_only=True)
class MeasureOptions:
    """Measure a trained network: fit, margins, norms, curvature, every sharpness.

    Prints a row a measure, with units, standard error, cost, and whether a rescaling of the
    weights that keeps the function changes it; writes measures.csv and report.html. What cannot
    be computed is a row that says why. A run that was stopped goes on where it was.

    Attributes:
        model: The folder of a trial in a store, its weights.safetensors, or module:callable,
            which returns a trained torch.nn.Module.
        data: What to measure on: a built-in data set, a path, or module:callable; by default
            what the trial was trained on, corrupted as it was.
        names: Which measures; by default all. module:measure is a Measure of your own.
        examples: Measure on at most so many training examples, drawn once, or on all.
        classes: Number of classes of data from outside, where the labels do not show it.
        standardize: Standardize data from outside, each image by itself or all together.
        tokens: Leave whole numbers whole, for a network that begins with an Embedding.
        size: Side, or height and width, that images of a folder are brought to, scaled to cover it
            and cut around the centre.
        loss: The loss whose landscape is measured.
        charts: Also draw, on at most 500 examples, the Hessian's spectrum, the surface around
            the network, and which measures a rescaling changes.
        list: Say what there is to measure, and stop.
        report: Write report.html.
        out: Where the tables go: a folder.
        seed: Of whatever is drawn.
        device: Where to compute; auto takes a CUDA device where there is one.
        json: Print JSON, and nothing else, on standard output.
    """

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")] = ""
    data: str | None = None
    names: tuple[str, ...] = ()
    examples: int | Literal["all"] = 2000
    classes: int | None = None
    standardize: Literal["image", "dataset"] | None = None
    tokens: bool = False
    size: tuple[int, ...] = ()
    loss: Literal["cross_entropy", "squared_error"] = "cross_entropy"
    charts: ChartsFlag = True
    list: bool = False
    report: ReportFlag = True
    out: str = "gengap-runs"
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    json: bool = False

    def __post_init__(self) -> None:
        if self.examples != "all":
            check_count("examples", self.examples)
        check_count("seed", self.seed, least=0)
        check_names(self.names)
        if not self.model and not self.list:
            raise ValueError(
                "`MODEL` must be given: the folder of a trial, its weights.safetensors, or "
                "module:callable."
            )


def main(arguments: Sequence[str]) -> int:
    """Run `gengap measure`; returns 0, or 1 if a measure asked for by name has no value."""
    options = parse(MeasureOptions, arguments, program="gengap measure")
    if options.list:
        _print_catalogue(json=options.json)
        return 0
    measures = find_measures(options.names) or list(MEASURES.values())
    trained = find_trained(
        options.model,
        data=options.data,
        num_classes=options.classes,
        standardize=options.standardize,
        tokens=options.tokens,
        size=options.size,
        seed=options.seed,
    )
    train = _some(trained.train, options)
    folder = _folder(options, trained)
    kept = _kept(folder, trained, train, options, sources(options.names, measures))
    with progress("measures", total=len(measures)) as advance:
        found = evaluate(
            trained.model,
            train,
            trained.test,
            names=measures if options.names else None,
            loss=options.loss,
            seed=options.seed,
            device=pick_device(options.device),
            progress=lambda measure: advance(description=measure.name),
            kept=kept,
        )
    folder.mkdir(parents=True, exist_ok=True)
    drawn = page = None
    if options.report and options.charts:
        drawn = _landscape(trained, train, options, found, measures)
        found = _with_refuted(found, measures, drawn)
    found.to_csv(folder / "measures.csv", index=False)
    if options.report:
        command = ["gengap", "measure", *arguments]
        report = _report(found, measures, trained, len(train), command, drawn)
        page = report.save(folder / "report.html")
    kept.remove()
    _print(found, trained, len(train), folder / "measures.csv", page, json=options.json)
    return int(bool(options.names) and bool(found["value"].isna().any()))


def _some(split: Split, options: MeasureOptions) -> Split:
    """Return the examples to measure on, drawn once, in their order."""
    if options.examples == "all" or options.examples >= len(split):
        return split
    order = torch.randperm(len(split), generator=streams(options.seed)("measure", "examples"))
    return split[order[: options.examples].sort().values]


def _landscape(
    trained: Trained,
    train: Split,
    options: MeasureOptions,
    found: "pd.DataFrame",
    measures: Sequence[Measure],
) -> "Landscape":
    """Draw the charts; one's own measures that have a value go into them."""
    from gengap.inspection import landscape

    with_value = set(found.loc[found["value"].notna(), "name"])
    with progress("charts", total=3) as advance:
        return landscape(
            trained.model,
            train,
            loss=options.loss,
            own=[measure for measure in own(measures) if measure.name in with_value],
            seed=options.seed,
            device=pick_device(options.device),
            progress=lambda name: advance(description=name),
        )


def _with_refuted(
    found: "pd.DataFrame", measures: Sequence[Measure], drawn: "Landscape"
) -> "pd.DataFrame":
    """Return the table as it is with one's own measures that rescaling changes after all."""
    wrong = refuted(measures, drawn.charts)
    found = found.copy()
    for row in found.index[found["name"].isin(wrong)]:
        said = (found.loc[row, "note"], wrong[found.loc[row, "name"]])
        found.loc[row, ["invariant", "note"]] = False, "; ".join(filter(None, said))
    return found


def _kept(
    folder: Path, trained: Trained, train: Split, options: MeasureOptions, own_code: Sequence[str]
) -> KeptRows:
    """Return the rows that a run which was stopped left behind, and say so."""
    risk = Risk(trained.model, train, loss=options.loss)
    settings = {"seed": options.seed, "device": options.device, "loss": options.loss}
    of = identity(risk, trained.test, **settings, own_code=own_code)
    kept = KeptRows(folder / "unfinished.json", of=of)
    if kept:
        print(f"{len(kept)} measures are kept from a run that was stopped.", file=sys.stderr)
    return kept


def _folder(options: MeasureOptions, trained: Trained) -> Path:
    """Return where the tables go: a folder of its own for what was measured."""
    asked = {"names": options.names, "examples": options.examples, "seed": options.seed,
             "loss": options.loss, "about": trained.about}  # fmt: skip
    of_data = ("classes", "standardize", "tokens", "size")
    asked |= {name: value for name in of_data if (value := getattr(options, name))}
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in trained.name).strip("-")
    return Path(options.out) / "measures" / f"{name}-{digest(plain(asked))[:6]}"


def _table(found: "pd.DataFrame", trained: Trained, n: int) -> Table:
    import pandas as pd

    shown = pd.DataFrame({
        "measure": found["name"],
        "value": found["value"],
        "±": found["standard_error"].where(found["standard_error"] > 0),
        "units": found["units"],
        "rescaling changes it": [_RESCALING[value] for value in found["invariant"]],
        "passes": found["cost"],
        "seconds": found["seconds"],
    })
    return Table(
        name="measures",
        frame=shown,
        title=f"Measures of {trained.name}",
        formats=_FORMATS,
        caption=f"On {n:,} examples. ±: standard error; none where it is exact, a bound, or not "
        "known. Passes: cost in forward-and-backward passes over the examples.",
    )


def _report(
    found: "pd.DataFrame",
    measures: Sequence[Measure],
    trained: Trained,
    n: int,
    command: Sequence[str],
    drawn: "Landscape | None",
) -> Report:
    import pandas as pd

    notes = found.loc[found["note"] != "", ["name", "note"]]
    missing = list(drawn.missing.items()) if drawn else []
    notes = pd.concat([notes, pd.DataFrame(missing, columns=["name", "note"])])
    tables = [_table(found, trained, n)]
    if len(notes):
        tables.append(Table(name="notes", frame=notes, title="Notes"))
    about = Specification(title="What was measured", content=trained.about)
    made = Specification(title="Versions", content=versions())
    meaning = catalogue(measures)[["name", "formula", "range", "caveat", "source"]]
    meaning = meaning[meaning["name"].isin(found["name"])]
    return Report(
        title=f"Measures of {trained.name}",
        lead="A measure that a rescaling changes can be made large or small for one function: it "
        "compares networks only where nothing was rescaled.",
        sections=[
            Section(title="Measures", items=tables),
            *([Section(title="Charts", items=drawn.charts)] if drawn and drawn.charts else []),
            Section(title="What they are", items=[Table(name="catalogue", frame=meaning)]),
            Section(title="Specification", items=[about, made, Command(line=command)]),
        ],
    )


def _print(
    found: "pd.DataFrame", trained: Trained, n: int, file: Path, page: Path | None, *, json: bool
) -> None:
    if json:
        print_json({
            "model": trained.name,
            "examples": n,
            "measures": found.to_dict("records"),
            "about": trained.about,
            "table": file,
            "report": page,
        })
        return
    table = _table(found, trained, n)
    print_columns(_rows(table.frame))
    print(f"\n{table.caption}\n")
    for name, note in zip(found["name"], found["note"], strict=True):
        if note:
            print(f"{name}: {note}")
    print(f"Table: {file}")
    if page is not None:
        print(f"Report: {page}")


def _print_catalogue(*, json: bool) -> None:
    frame = catalogue()
    if json:
        print_json(frame.to_dict("records"))
        return
    frame["rescaling changes it"] = [_RESCALING[value] for value in frame["invariant"]]
    columns = ["name", "units", "cost", "rescaling changes it", "formula"]
    print_columns(_rows(frame[columns]))
    print("\nCost: forward-and-backward passes over the examples, roughly.")


def _rows(frame: "pd.DataFrame") -> Sequence[Mapping[str, object]]:
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]
