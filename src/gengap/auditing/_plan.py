"""Which trials an audit runs: one model, one recipe, many data sets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

from gengap.corruptions import (
    Corruption,
    GaussianPixels,
    RandomLabels,
    RandomPixels,
    ShuffledPixels,
)
from gengap.data import Split
from gengap.lab import Data, Model, Trial
from gengap.training import Probes, Recipe

TRUE, RANDOM = "true labels", "random labels"
AS_GIVEN, BARE = "as given", "without regularizers"


def level_name(level: float) -> str:
    """Return the name of the data set whose labels are redrawn with probability `level`."""
    return f"{level:.0%} redrawn" if round(100 * level, 6).is_integer() else f"p={level:g} redrawn"


@final
@dataclass(frozen=True, kw_only=True)
class DataSet:
    """One of the data sets of an audit.

    Attributes:
        name: What reports call it.
        corruption: How it is made; None is the data as they are.
        level: Probability with which labels are redrawn; None where inputs are changed.
    """

    name: str
    corruption: Corruption | None
    level: float | None


def parts_of(split: Split) -> str:
    """Return what the inputs consist of: tokens; pixels, of images; or features."""
    if split.tokens:
        return "tokens"
    return "pixels" if len(split.input_shape) == 3 else "features"


def data_sets(levels: Sequence[float], *, parts: str = "pixels") -> list[DataSet]:
    """Return the data sets of Zhang et al. (2017), figure 1, in a fixed order.

    Args:
        levels: Probabilities with which labels are redrawn, beside 0 and 1.
        parts: What the inputs consist of, for the names: pixels, features or tokens. Tokens
            cannot be Gaussian noise.
    """
    for level in levels:
        if not 0 < level < 1:
            raise ValueError(
                f"`levels` must lie between 0 and 1, which are run anyway; got {level!r}."
            )
    labels = [(TRUE, None, 0.0)]
    labels += [(level_name(p), RandomLabels(probability=p), p) for p in sorted(set(levels))]  # type: ignore[misc]
    labels += [(RANDOM, RandomLabels(probability=1.0), 1.0)]  # type: ignore[list-item]
    inputs = [
        (f"shuffled {parts}", ShuffledPixels(), None),
        (f"random {parts}", RandomPixels(), None),
        *([] if parts == "tokens" else [("Gaussian noise", GaussianPixels(), None)]),
    ]
    return [DataSet(name=n, corruption=c, level=p) for n, c, p in [*labels, *inputs]]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Planned:
    """A trial and its place in an audit.

    Attributes:
        trial: What is run.
        data_set: On which of the data sets.
        variant: "as given", or "without regularizers" where the recipe has some.
    """

    trial: Trial
    data_set: DataSet
    variant: str = AS_GIVEN


def plan(
    data: Data,
    model: Model,
    recipe: Recipe,
    *,
    levels: Sequence[float],
    seeds: Sequence[int],
    probes: Probes | None = None,
) -> list[Planned]:
    """Return the trials of an audit, seed by seed.

    A recipe with explicit regularizers is also run without them on true and on random labels, so
    that what they change can be told.
    """
    sets = data_sets(levels, parts=parts_of(data.load()[0]))
    planned = []
    for seed in seeds:
        for chosen in sets:
            trial = Trial(
                data=data,
                model=model,
                recipe=recipe,
                corruption=chosen.corruption,
                seed=seed,
                probes=probes,
            )
            planned.append(Planned(trial=trial, data_set=chosen))
            if recipe.regularizer_names and chosen.name in (TRUE, RANDOM):
                bare = replace(trial, recipe=recipe.without_regularizers())
                planned.append(Planned(trial=bare, data_set=chosen, variant=BARE))
    return planned
