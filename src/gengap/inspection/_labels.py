"""Which labels of a data set are likely wrong?"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, final

import pandas as pd
from torch import nn

from gengap._checks import check_choice, check_count, check_probability, check_seeds
from gengap._errors import GengapError
from gengap.corruptions import RandomLabels
from gengap.data import Split, as_split
from gengap.lab import Data, Lab, Model, Progress, Trial, plain
from gengap.memorization import HELD_OUT_SCORES, SCORES, detection, network_scores, rank_labels
from gengap.report import Report, Table
from gengap.risk import Risk
from gengap.training import Probes, Recipe, build_seeded, check_training

from ._estimator import by_estimator, is_estimator
from ._page import evaluation_table, make_report, suspicious_table

FROM_GRADIENTS = ("error_norm", "gradient_norm", "misalignment")
_COLUMNS = (
    *("seed", "status", "reason", "epoch"),
    *("train_accuracy", "clean_accuracy", "corrupted_accuracy"),
)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Labels:
    """The labels of a data set, the most suspicious first.

    Attributes:
        ranking: One row an example; see `gengap.memorization.rank_labels`.
        evaluation: How well each score finds the labels known to be changed, best first; see
            `gengap.memorization.detection`. None where none is known to be, or all are.
        trials: One row a training run: seed, status, reason, epochs, accuracies.
        history: The histories of the runs.
        split: What was ranked, with the labels that were trained on.
        by: The score that ranks.
        top: How many examples are shown.
        specification: What was run, as plain data.
        command: The command line that made it, or empty.
    """

    ranking: pd.DataFrame = field(repr=False)
    evaluation: pd.DataFrame | None = field(repr=False)
    trials: pd.DataFrame = field(repr=False)
    history: pd.DataFrame = field(repr=False)
    split: Split
    by: str
    top: int
    specification: dict[str, Any] = field(repr=False)
    model_name: str
    data_name: str
    command: Sequence[str] = ()

    @property
    def report(self) -> Report:
        """The page."""
        return make_report(
            ranking=self.ranking,
            evaluation=self.evaluation,
            trials=self.trials,
            history=self.history,
            split=self.split,
            by=self.by,
            top=self.top,
            model=self.model_name,
            data=self.data_name,
            specification=self.specification,
            command=self.command,
        )

    def as_tables(self) -> list[Table]:
        """Return the most suspicious examples, and how well scores do where that is known."""
        tables = [suspicious_table(self.ranking, by=self.by, top=self.top)]
        if self.evaluation is not None:
            tables.append(evaluation_table(self.evaluation))
        return tables

    def save(self, path: str | Path) -> Path:
        """Write the page with its charts and tables, and labels.csv beside it."""
        path = Path(path)
        self.save_tables(path.parent)
        return self.report.save(path)

    def save_tables(self, folder: str | Path) -> Path:
        """Write labels.csv, all examples as they are ranked; returns the folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / ".labels.part"
        self.ranking.to_csv(part, index=False, float_format="%.6g")
        part.replace(folder / "labels.csv")
        return folder

    def _repr_html_(self) -> str:
        return "".join(table.html() for table in self.as_tables())


def labels(
    build: Callable[[], nn.Module] | Model | Any,
    train: Split | Data | Any,
    *,
    recipe: Recipe | None = None,
    seeds: int | Sequence[int] = 1,
    by: str = "negative_margin",
    gradients: bool = True,
    noise: float = 0.0,
    top: int = 24,
    folds: int = 5,
    lab: Lab | str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    command: Sequence[str] = (),
) -> Labels:
    """Rank the labels of a data set by how much they have to be memorized, wrong ones first.

    Trains the network on the labels as they are and follows every example. What is learned late,
    with small margins and against the other examples of its label, is likely to be wrong.

    A classifier of scikit-learn or skorch is fitted without one fold after the other instead, and
    labels rank by the probabilities that it gives to what it has not seen.

    Args:
        build: Makes a fresh network, called once a seed, under that seed; or a `gengap.lab.Model`;
            or a classifier with `predict_proba`, which is cloned, and to which recipe, gradients,
            lab and progress mean nothing.
        train: The examples: a Split, a `gengap.lab.Data`, or what `gengap.data.as_split` takes.
            Labels that differ from its `true_targets` are known to be wrong, and evaluate the
            scores.
        recipe: How to train; None is SGD at 0.01 with momentum 0.9 for 10 epochs.
        seeds: How many, counted from 0, or which; scores are averaged over them.
        by: The score that ranks, a key of `gengap.memorization.SCORES`; by a classifier, of
            `HELD_OUT_SCORES`.
        gradients: Score with the trained networks too: error norm, gradient norm and misalignment.
            Cost: two gradients and a forward pass over the examples, for every seed.
        noise: Redraw each label with this probability first, under the first seed, to see how
            well wrong labels are found.
        top: How many of the most suspicious examples are shown.
        folds: Into how many parts the examples are divided for a classifier; no more than the
            rarest label has examples.
        lab: Where trials are kept, so that they can be resumed; None keeps nothing.
        progress: Called a few times a second with how far a group of trials is.
        command: The command line to show in the report.

    Returns:
        The labels: `ranking`, `evaluation`, `save("report.html")`.

    Raises:
        ValueError: The network, the data and the recipe do not fit each other.
        GengapError: No run came to an end.
        StoreError: The store cannot be read or written.
    """
    if is_estimator(build):
        return _by_estimator(build, train, seeds, by, folds, noise, top, command)
    model = build if isinstance(build, Model) else Model.of(build)
    recipe = recipe or Recipe(epochs=10, lr=0.01)
    chosen = check_seeds(seeds)
    check_count("top", top)
    _check_score(by, gradients=gradients)
    split, name = _split(train, noise=noise, seed=chosen[0])
    _check(split, model, recipe, gradients=gradients)
    data = Data.of(split, None, name=name)
    trials = [
        Trial(data=data, model=model, recipe=recipe, seed=seed, probes=Probes(examples=True))
        for seed in chosen
    ]
    with _opened(lab) as store:
        frame = store.run(trials, progress=progress)
        done = _usable(trials, frame)
        networks = [_networks(store, trial, split) for trial in done] if gradients else []
        examples = [store.examples(trial) for trial in done]
        history = store.history(done)
    ranking = rank_labels(split, examples, networks=networks, by=by)
    return Labels(
        ranking=ranking,
        evaluation=_evaluation(ranking),
        trials=frame[[column for column in _COLUMNS if column in frame]],
        history=history,
        split=split,
        by=by,
        top=min(top, len(split)),
        specification={
            "data": data.spec,
            "noise": noise,
            "model": model.spec,
            "recipe": {f.name: plain(getattr(recipe, f.name)) for f in fields(recipe)},
            "seeds": chosen,
            "by": by,
            "gradients": gradients,
        },
        model_name=str(model.spec["name"]),
        data_name=name,
        command=command,
    )


def _by_estimator(
    estimator: Any,
    train: Any,
    seeds: int | Sequence[int],
    by: str,
    folds: int,
    noise: float,
    top: int,
    command: Sequence[str],
) -> Labels:
    """Rank labels by the held-out probabilities of a classifier."""
    chosen = check_seeds(seeds)
    check_count("top", top)
    check_choice("by", by, HELD_OUT_SCORES)
    split, name = _split(train, noise=noise, seed=chosen[0])
    ranking, trials, said = by_estimator(estimator, split, seeds=chosen, by=by, folds=folds)
    data = Data.of(split, None, name=name).spec
    return Labels(
        ranking=ranking,
        evaluation=_evaluation(ranking),
        trials=trials,
        history=pd.DataFrame(),
        split=split,
        by=by,
        top=min(top, len(split)),
        specification={"data": data, "noise": noise, "seeds": chosen, "by": by, **said},
        model_name=type(estimator).__name__,
        data_name=name,
        command=command,
    )


@contextmanager
def _opened(lab: Lab | str | Path | None) -> Iterator[Lab]:
    """Hand out the lab, or one that is gone afterwards."""
    if isinstance(lab, Lab):
        yield lab
    elif lab is not None:
        yield Lab(lab)
    else:
        with tempfile.TemporaryDirectory(prefix="gengap-") as folder:
            yield Lab(folder)


def _check_score(by: str, *, gradients: bool) -> None:
    check_choice("by", by, SCORES)
    if by in FROM_GRADIENTS and not gradients:
        raise ValueError(f"`gradients` must be True to rank by {by!r}; got False.")


def _split(train: Any, *, noise: float, seed: int) -> tuple[Split, str]:
    """Return what to rank, noise added, and its name."""
    check_probability("noise", noise)
    if isinstance(train, Data):
        split, name = train.load()[0], str(train.spec["name"])
    else:
        split = as_split(train)
        name = split.name
    if split.num_classes is None:
        raise ValueError(
            "`train` must have classes for targets, whose labels are ranked; got real values."
        )
    split = replace(split, half="train")
    if noise:
        split = RandomLabels(probability=noise)(split, seed=seed)
    # of labels only: not of pixels, and not where noise gave the true label back
    return replace(split, changed=split.targets != split.true_targets), name


def _check(split: Split, model: Model, recipe: Recipe, *, gradients: bool) -> None:
    """Require that all fit each other, before anything is trained."""
    if recipe.early_stopping is not None:
        raise ValueError(
            "`early_stopping` must be None, as the examples held out would not be ranked; got "
            f"{recipe.early_stopping}. Train for fewer epochs instead."
        )
    network = build_seeded(model.builder(split), 0)
    check_training(network, split, recipe)
    if gradients:
        try:
            Risk(network, split)
        except ValueError as error:
            sentence = str(error).rstrip(".")
            raise ValueError(f"{sentence}; or leave the gradients out.") from error


def _usable(trials: Sequence[Trial], frame: pd.DataFrame) -> list[Trial]:
    """Return the trials whose network was trained to the end."""
    ended = frame["status"].isin(["fitted", "stopped"])
    if not ended.any():
        first = frame.iloc[0]
        raise GengapError(
            f"No run came to an end: seed {first['seed']} {first['status']}: {first['reason']}"
        )
    return [trial for trial, good in zip(trials, ended, strict=True) if good]


def _networks(lab: Lab, trial: Trial, split: Split) -> dict[str, Any]:
    return network_scores(Risk(lab.model(trial), split, device=lab.device))


def _evaluation(ranking: pd.DataFrame) -> pd.DataFrame | None:
    if "changed" not in ranking or ranking["changed"].all():
        return None
    rows = ranking.sort_values("example")  # what ties must not follow is the ranking
    known = {name: rows[name].to_numpy() for name in SCORES if name in rows}
    return detection(known, rows["changed"].to_numpy())
