"""One fully specified run."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, final

from gengap._checks import keep_counts
from gengap.corruptions import Corruption
from gengap.data import Split
from gengap.training import Lane, Probes, Recipe

from ._files_read import files_read
from ._ingredients import Builder, Data, Model
from ._plain import canonical, corruption_text, digest, plain, revived

_FORMAT = 1
_LANE_FIELDS = ("lr", "momentum", "weight_decay")


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """One fully specified run; equal specifications have equal ids.

    Attributes:
        data: What to train and test on.
        model: What to train.
        recipe: How to train.
        corruption: What to change first, under the trial's seed; None leaves the data alone.
        seed: Root of every draw. At least 0.
        probes: What to measure on the way; None, which leaves the id as it is, nothing more.
    """

    data: Data
    model: Model
    recipe: Recipe
    corruption: Corruption | None = None
    seed: int = 0
    probes: Probes | None = None

    def __post_init__(self) -> None:
        keep_counts(self, "seed", least=0)

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The specification as plain data."""
        probes = {} if self.probes is None else {"probes": plain(self.probes)}
        files = files_read(self.corruption)
        return {
            "format": _FORMAT,
            "data": plain(self.data.spec),
            "model": plain(self.model.spec),
            "corruption": plain(self.corruption),
            "recipe": plain(self.recipe),
            "seed": self.seed,
            **probes,
            **({"files": files} if files else {}),
        }

    @cached_property
    def id(self) -> str:
        """A hash of the specification."""
        return digest(self.spec)

    @cached_property
    def lane_key(self) -> str:
        """What trials must share to train as lanes of one program."""
        shared = {k: v for k, v in self.spec["recipe"].items() if k not in _LANE_FIELDS}
        probes = [self.spec["probes"]] if self.probes else []
        return canonical([self.spec["data"], self.spec["model"], shared, *probes])

    def sibling(self, spec: dict[str, Any]) -> "Trial":
        """Return the trial of a stored specification that has this one's data and model."""
        return replace(
            self,
            recipe=revived(spec["recipe"]),
            corruption=revived(spec["corruption"]),
            seed=spec["seed"],
            probes=revived(spec.get("probes")),
        )

    def splits(self) -> tuple[Split, Split | None]:
        """Return the train and test halves, corrupted."""
        train, test = self.data.load()
        if self.corruption is None:
            return train, test
        changed = self.corruption(test, seed=self.seed) if test is not None else None
        return self.corruption(train, seed=self.seed), changed

    def lane(self) -> Lane:
        """Return the trial as a lane."""
        train, test = self.splits()
        own = {name: getattr(self.recipe, name) for name in _LANE_FIELDS}
        return Lane(split=train, test=test, seed=self.seed, **own)

    def builder(self) -> Builder:
        """Return a callable that makes a fresh network."""
        return self.model.builder(self.data.load()[0])

    def __repr__(self) -> str:
        return (
            f"Trial({self.id}: {self.model.spec['name']} on {self.data.spec['name']}, "
            f"{corruption_text(self.corruption)}, seed {self.seed})"
        )
