"""The terms of the gap in path coordinates, and what two phases of training reach."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, final

import pandas as pd
from torch.nn import functional as F

from gengap.capacity import fit_two_phase, gap_decomposition, two_phase_bound
from gengap.corruptions import RandomLabels
from gengap.data import Split
from gengap.lab import Lab, Measurement, Progress, plain
from gengap.models import mlp
from gengap.training import Recipe, fit

from ._kawaguchi2017_trials import PLANS, Plan, Scale

_TERMS = (
    "gap",
    "targets",
    "linear",
    "quadratic",
    "residual",
    "measured",
    "paths",
    "cosine",
    "bound",
)
_PHASES = ("first", "second", "bound")


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Numbers:
    """What was read.

    Attributes:
        terms: One row a level of random labels and seed: the gap of squared loss and its terms.
        phases: One row a share and seed: test accuracies after the first and the second phase,
            and the bound on the gap of squared loss.
    """

    terms: pd.DataFrame = field(repr=False)
    phases: pd.DataFrame = field(repr=False)


def measure(
    lab: Lab,
    scale: Scale,
    seeds: Sequence[int],
    *,
    compute: bool,
    progress: Callable[[Progress], None] | None,
) -> Numbers:
    """Train the networks that are no trials, read them, and keep what was read in the lab."""
    plan = PLANS[scale]
    terms = [
        ({"level": level, "seed": seed}, _terms(plan, level, seed))
        for level in plan.levels
        for seed in seeds
    ]
    phases = [
        ({"share": share, "seed": seed}, _phases(plan, share, seed))
        for share in plan.shares
        for seed in seeds
    ]
    asked = [*terms, *phases]
    found = lab.measure([one for _, one in asked], compute=compute, progress=progress)
    rows = [
        {**place, **values} if values else None
        for (place, _), values in zip(asked, found, strict=True)
    ]
    return Numbers(
        terms=pd.DataFrame(filter(None, rows[: len(terms)]), columns=["level", "seed", *_TERMS]),
        phases=pd.DataFrame(filter(None, rows[len(terms) :]), columns=["share", "seed", *_PHASES]),
    )


def one_hot(split: Split) -> Split:
    """Return the split with its classes as real targets, 0 or 1."""
    assert split.num_classes is not None
    targets = F.one_hot(split.targets, split.num_classes).float()
    return replace(split, targets=targets, true_targets=targets, num_classes=None, class_names=None)


def _terms(plan: Plan, level: float, seed: int) -> Measurement:
    recipe = Recipe(
        epochs=plan.epochs_squared, batch_size=50, optimizer="adam", lr=1e-3, loss="squared_error"
    )

    def compute() -> dict[str, Any]:
        train, test = plan.source.load()
        assert test is not None
        train = RandomLabels(probability=level)(train[: plan.squared], seed=seed)
        halves = [one_hot(half) for half in (train, test[: plan.squared])]

        def build() -> Any:
            return mlp(train.input_shape, halves[0].targets.shape[1], hidden=plan.hidden)

        run = fit(build, halves[0], test=halves[1], recipe=recipe, seed=seed, device="cpu")
        found = gap_decomposition(run.model, *halves)
        measured = 2 * (run.final["test_loss"] - run.final["train_loss"])
        return {
            **{name: getattr(found, name) for name in _TERMS if name != "measured"},
            "measured": measured,
        }

    options = {"plan": _said(plan), "recipe": plain(recipe), "level": level, "seed": seed}
    return Measurement(name="gap-in-paths", options=options, compute=compute)


def _phases(plan: Plan, share: float, seed: int) -> Measurement:
    def compute() -> dict[str, Any]:
        train, test = plan.source.load()
        assert train.num_classes is not None
        classes = train.num_classes

        def build() -> Any:
            return mlp(train.input_shape, classes, hidden=plan.hidden)

        found = fit_two_phase(
            build, train, share=share, test=test, recipe=plan.recipe, seed=seed, device="cpu"
        )
        return {
            "first": found.first.final["test_accuracy"],
            "second": found.second.final["test_accuracy"],
            "bound": two_phase_bound(found.second.model, found.rest).value,  # type: ignore[arg-type]
        }

    options = {"plan": _said(plan), "recipe": plain(plan.recipe), "share": share, "seed": seed}
    return Measurement(name="two-phases", options=options, compute=compute)


def _said(plan: Plan) -> dict[str, Any]:
    """Return what of a plan decides the networks that are no trials."""
    kept = ("data", "examples", "test_examples", "hidden", "squared")
    return {name: value for name, value in asdict(plan).items() if name in kept}
