"""Several corruptions, one after the other."""

from dataclasses import dataclass
from typing import final

from gengap._streams import derive_seed
from gengap.data import Split

from ._corruption import Corruption


@final
@dataclass(frozen=True, kw_only=True)
class Compose(Corruption):
    """Apply corruptions in order, each with its own seed derived from the one given.

    So the same corruption twice makes new draws the second time. None at all leaves the split as
    it is. `changed` marks what any of them changed, also where a later one happens to undo it.

    Attributes:
        corruptions: The first to be applied first.
    """

    corruptions: tuple[Corruption, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "corruptions", tuple(self.corruptions))
        for corruption in self.corruptions:
            if not isinstance(corruption, Corruption):
                raise TypeError(f"`corruptions` must hold corruptions; got {corruption!r}.")

    def __call__(self, split: Split, /, *, seed: int) -> Split:
        """Return the split after all corruptions."""
        for position, corruption in enumerate(self.corruptions):
            split = corruption(split, seed=derive_seed(seed, "compose", position))
        return split
