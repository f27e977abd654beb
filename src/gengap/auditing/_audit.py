"""The main job: does a network memorize, how much, and at what price?"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, final

import pandas as pd
from torch import nn

from gengap._checks import check_count, check_seeds
from gengap.data import Split, as_splits, check_classes
from gengap.lab import Data, Lab, Model, Progress, plain
from gengap.report import Claim, Report, Table
from gengap.training import (
    Probes,
    Recipe,
    build_seeded,
    check_fit,
    check_training,
)

from ._bounds import bound_claims, bounds
from ._claims import claims
from ._coherence import coherence, coherence_claims, with_coherence
from ._ended import check_ended, ended, judged_too
from ._kernel_twin import COLUMNS, check_twin, kernel_twin as twin_of, with_twin
from ._page import make_report, result_table
from ._plan import DataSet, data_sets, parts_of, plan
from ._results import results, summary
from ._twin_page import twin_claims

LEVELS = (0.2, 0.4, 0.6, 0.8)
"""Probabilities with which an audit redraws labels, beside 0 and 1."""
PROBE = 512
"""Examples of the sample on which m-coherence is measured."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Audit:
    """What an audit found.

    Attributes:
        results: One row a trial: data_set, level, variant, seed, status, accuracies, gap, epochs
            and steps to fit, coherence; of one that diverged, its reason only. No times, so that a
            resumed audit gives the same bytes.
        history: The histories of all trials, with the same first columns.
        coherence: What the probes measured: a row a trial, measurement, layer and group.
        bounds: Bounds on the gap from size, norms and margins, of the networks trained on true
            and on random labels: a row each, with whether it is vacuous and a sentence.
        twin: What a Gaussian kernel makes of the same data sets, a row each; empty unless asked
            for.
        claims: What the numbers support, each sentence with its rule.
        specification: What was run, as plain data.
        command: The command line that made it, or empty.
    """

    results: pd.DataFrame = field(repr=False)
    history: pd.DataFrame = field(repr=False)
    coherence: pd.DataFrame = field(repr=False)
    bounds: pd.DataFrame = field(repr=False)
    twin: pd.DataFrame = field(repr=False)
    claims: list[Claim] = field(repr=False)
    specification: dict[str, Any] = field(repr=False)
    data_sets: list[DataSet] = field(repr=False)
    halves: tuple[Split, Split | None] = field(repr=False)
    model_name: str
    data_name: str
    command: Sequence[str] = ()

    @property
    def table(self) -> pd.DataFrame:
        """One line a data set: means over seeds with their standard deviation."""
        return summary(self.results)

    @property
    def report(self) -> Report:
        """The page."""
        return make_report(
            model=self.model_name,
            data=self.data_name,
            results=self.results,
            history=self.history,
            coherence=self.coherence,
            claims=self.claims,
            data_sets=self.data_sets,
            train=self.halves[0],
            specification=self.specification,
            command=self.command,
        )

    def as_table(self) -> Table:
        """Return `table` with the way its columns are written."""
        return result_table(self.results)

    def save(self, path: str | Path) -> Path:
        """Write the page with its charts and tables, and the tables beside it."""
        path = Path(path)
        self.save_tables(path.parent)
        return self.report.save(path)

    def save_tables(self, folder: str | Path) -> Path:
        """Write results.csv, history.csv without times, and coherence, bounds and kernel-twin.csv.

        Tables without rows are left out. Returns the folder.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        timeless = self.history.drop(columns="seconds", errors="ignore")
        frames = {"results": self.results, "history": timeless}
        frames |= {
            name: frame
            for name, frame in (
                ("coherence", self.coherence),
                ("bounds", self.bounds),
                ("kernel-twin", self.twin),
            )
            if len(frame)
        }
        for name, frame in frames.items():
            part = folder / f".{name}.part"
            frame.to_csv(part, index=False)
            part.replace(folder / f"{name}.csv")
        return folder

    def _repr_html_(self) -> str:
        return self.report.to_html_fragment()


def audit(
    build: Callable[[], nn.Module] | Model,
    train: Split | Data | Any,
    test: Split | Any = None,
    *,
    recipe: Recipe | None = None,
    seeds: int | Sequence[int] = 3,
    levels: Sequence[float] = LEVELS,
    probe: int = PROBE,
    kernel_twin: bool = False,
    lab: Lab | str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    command: Sequence[str] = (),
) -> Audit:
    """Run the randomization test of Zhang et al. on a network and a data set.

    Trains the network on true labels, on labels redrawn with growing probability up to random
    labels, on shuffled pixels, random pixels and Gaussian noise, each from several seeds, and
    says what the numbers support.

    Args:
        build: Makes a fresh network; called once a trial, under the trial's seed. Or a
            `gengap.lab.Model`.
        train: The train half: a Split, or what `gengap.data.as_splits` takes for one half; or a
            `gengap.lab.Data` with both halves.
        test: The test half, like `train`; needed but with a `gengap.lab.Data`.
        recipe: How to train; None is SGD at 0.1 with momentum 0.9 up to 200 epochs, stopping
            once every training example is right.
        seeds: How many, counted from 0, or which.
        levels: Probabilities with which labels are redrawn, beside 0 and 1.
        probe: Training examples on which m-coherence is measured along the way, beside when each
            training example is learned; 0 measures neither.
        kernel_twin: Whether a Gaussian kernel is fitted to the same data sets and told beside the
            network; see `kernel_twin` in `gengap.auditing`.
        lab: Where trials are kept, so that they can be resumed; None keeps nothing.
        progress: Called a few times a second with how far a group of trials is.
        command: The command line to show in the report.

    Returns:
        The audit: `table`, `claims`, `results`, `history`, `save("report.html")`.

    Raises:
        ValueError: The network, the data and the recipe do not fit each other.
        DataError: The classes of the halves have other names or another order.
        GengapError: No run came to an end.
        StoreError: The store cannot be read or written.

    Source:
        Zhang et al. (2017), arXiv:1611.03530, section 2 and figure 1.
    """
    if lab is None:
        how: dict[str, Any] = {"recipe": recipe, "seeds": seeds, "levels": levels, "probe": probe}
        how["kernel_twin"] = kernel_twin
        with tempfile.TemporaryDirectory(prefix="gengap-") as folder:
            own = Lab(folder)
            return audit(build, train, test, **how, lab=own, progress=progress, command=command)
    lab = lab if isinstance(lab, Lab) else Lab(lab)
    data = train if isinstance(train, Data) else _as_data(train, test)
    model = build if isinstance(build, Model) else Model.of(build)
    recipe = recipe or Recipe(epochs=200, lr=0.1, stop_at_accuracy=1.0)
    chosen = check_seeds(seeds)
    check_count("probe", probe, least=0)
    probes = Probes(coherence=probe, examples=True) if probe else None
    halves = data.load()
    check(halves, model, recipe)
    planned = plan(data, model, recipe, levels=levels, seeds=chosen, probes=probes)
    if kernel_twin:
        check_twin(halves, planned)
    lab.run([p.trial for p in planned], progress=progress)
    table, history = results(lab, planned)
    check_ended(table)
    measured = coherence(lab, planned)
    trained = set(table.loc[ended(table), "trial"])
    sound = measured[measured["trial"].isin(trained)]
    twin = twin_of(lab, planned) if kernel_twin else pd.DataFrame(columns=list(COLUMNS))
    table = with_twin(with_coherence(table, sound), twin)
    limits, why_none = bounds(lab, [p for p in planned if p.trial.id in trained])
    return Audit(
        results=table,
        history=history,
        coherence=measured,
        bounds=limits,
        twin=twin,
        claims=[
            *claims(table, history, recipe, num_classes=halves[0].num_classes or 0),
            *judged_too(bound_claims(limits, why_none), table),
            *judged_too(coherence_claims(table, sound), table),
            *judged_too(twin_claims(table, twin), table),
        ],
        specification=_specification(data, model, recipe, levels, chosen, probes, kernel_twin),
        data_sets=data_sets(levels, parts=parts_of(halves[0])),
        halves=halves,
        model_name=str(model.spec["name"]),
        data_name=str(data.spec["name"]),
        command=command,
    )


def _specification(
    data: Data,
    model: Model,
    recipe: Recipe,
    levels: Sequence[float],
    seeds: Sequence[int],
    probes: Probes | None,
    kernel_twin: bool,
) -> dict[str, Any]:
    """Return what was run, as plain data."""
    return {
        "data": data.spec,
        "model": model.spec,
        "recipe": {f.name: plain(getattr(recipe, f.name)) for f in fields(recipe)},
        "levels": list(levels),
        "seeds": list(seeds),
        **({"probes": plain(probes)} if probes else {}),
        **({"kernel_twin": True} if kernel_twin else {}),
    }


def _as_data(train: Any, test: Any) -> Data:
    if test is None:
        raise ValueError(
            "`test` must be given, as the gap is measured on it; got None. "
            "gengap.data.as_splits(data) sets a part aside."
        )
    if not (isinstance(train, Split) and isinstance(test, Split)):
        train, test = as_splits((train, test))
    return Data.of(train, replace(test, half="test"))


def check(halves: tuple[Split, Split | None], model: Model, recipe: Recipe) -> None:
    """Require that network, data and recipe fit each other, before anything is trained."""
    train, test = halves
    if train.num_classes is None:
        raise ValueError(
            "`train` must have classes for targets, which an audit redraws; got real values."
        )
    network = build_seeded(model.builder(train), 0)
    check_training(network, train, recipe)
    if test is None:
        raise ValueError("`test` must be given, as the gap is measured on it; got None.")
    check_fit(network, test, recipe, what="test split")
    check_classes(train, test)
