"""What the probes of one run measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Probed:
    """What the probes of one run measured, as columns of equal length.

    Attributes:
        coherence: A row a measurement, layer and group; None where it was not asked for.
        null_worlds: A row a measurement and null world; None where none were asked for.
        examples: A row a training example; None where it was not asked for.
    """

    coherence: Mapping[str, list] | None = field(default=None, repr=False)
    null_worlds: Mapping[str, list] | None = field(default=None, repr=False)
    examples: Mapping[str, Tensor] | None = field(default=None, repr=False)

    def frames(self) -> "dict[str, pd.DataFrame]":
        """Return a frame for each that was asked for, by name."""
        import pandas as pd

        found = {}
        if self.coherence is not None:
            found["coherence"] = pd.DataFrame(dict(self.coherence))
        if self.null_worlds is not None:  # maybe without rows, whose columns have types even so
            kinds = {"epoch": int, "step": int, "world": int, "share": float}
            found["null_worlds"] = pd.DataFrame(dict(self.null_worlds)).astype(kinds)
        if self.examples is not None:
            columns = {name: value.numpy() for name, value in self.examples.items()}
            found["examples"] = pd.DataFrame(columns)
        return found
