"""The settings of a phase plane and the trials that fill it."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, final

from torch import nn

from gengap._checks import check_count, check_probability
from gengap._streams import own_draws
from gengap.corruptions import RandomLabels
from gengap.data import Split
from gengap.lab import Data, Model, Trial
from gengap.training import Recipe

Load = Literal["label_noise", "width"]
Temperature = Literal["batch_size", "lr", "epochs"]
Network = Model | Callable[..., nn.Module | Model]
Pair = tuple[int, int]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """Two trials of one place in a phase plane, which differ in their seed alone.

    Attributes:
        load: Setting of the first axis.
        temperature: Setting of the second.
        pair: Which pair of seeds.
        trials: The two trials; they share the redrawn labels.
    """

    load: float
    temperature: float
    pair: int
    trials: tuple[Trial, Trial]


def pairs_of(seeds: Sequence[int]) -> list[Pair]:
    """Return seeds two by two.

    Raises:
        ValueError: Their number is odd, or one comes twice.
    """
    if len(seeds) < 2 or len(seeds) % 2 or len(set(seeds)) < len(seeds):
        raise ValueError(
            "`seeds` must be different and even in number, two for each pair of networks; got "
            f"{tuple(seeds)!r}."
        )
    return list(zip(seeds[::2], seeds[1::2], strict=True))


def one_axis(**given: Sequence[float] | None) -> tuple[str, tuple[float, ...]]:
    """Return the name and the values of the only axis that is given.

    Raises:
        ValueError: None is given, or several, or one without different values.
    """
    asked = {name: tuple(values) for name, values in given.items() if values is not None}
    names = " or ".join(f"`{name}`" for name in given)
    if len(asked) != 1:
        raise ValueError(f"Exactly one of {names} must be given; got {', '.join(asked) or 'none'}.")
    ((name, values),) = asked.items()
    if not values or len(set(values)) < len(values):
        raise ValueError(f"`{name}` must hold different values; got {values!r}.")
    for value in values:
        if name == "label_noise":
            check_probability(name, value)
        elif name != "lr":
            check_count(name, value)  # type: ignore[arg-type]
    return name, values


def cells(
    data: Data,
    build: Network,
    *,
    load: tuple[str, Sequence[float]],
    temperature: tuple[str, Sequence[float]],
    recipe: Recipe,
    pairs: Sequence[Pair],
) -> list[Cell]:
    """Return the cells of a phase plane, a pair of trials each."""
    found = []
    for level in load[1]:
        model = _model(build, level if load[0] == "width" else None)
        for number, pair in enumerate(pairs):
            noise = level if load[0] == "label_noise" else 0.0
            own = noisy(data, noise, seed=pair[0])
            for heat in temperature[1]:
                changed: dict[str, Any] = {temperature[0]: heat}
                trials = [
                    Trial(data=own, model=model, recipe=replace(recipe, **changed), seed=seed)
                    for seed in pair
                ]
                found.append(
                    Cell(load=level, temperature=heat, pair=number, trials=(trials[0], trials[1]))
                )
    return found


def noisy(data: Data, probability: float, *, seed: int) -> Data:
    """Return data whose training labels are redrawn, the same for every trial."""
    if probability == 0:
        return data

    @functools.cache
    def load() -> tuple[Split, Split | None]:
        train, test = data.load()
        return RandomLabels(probability=probability)(train, seed=seed), test

    return Data({**data.spec, "label_noise": [probability, seed]}, load)


def _model(build: Network, width: float | None) -> Model:
    if isinstance(build, Model):
        if width is not None:
            raise ValueError(
                "`build` must be a function of the width where widths are compared; got a Model."
            )
        return build
    if width is None:
        made = _tried(build)
        return made if isinstance(made, Model) else Model.of(build)  # type: ignore[arg-type]
    wide: Callable[[], Any] = functools.partial(build, width)
    made = _tried(wide)
    return made if isinstance(made, Model) else Model.of(wide, name=f"width {width:g}")


def _tried(build: Callable[[], Any]) -> Any:
    """Call a builder to see what it makes; no draw of it counts."""
    with own_draws(0):
        return build()
