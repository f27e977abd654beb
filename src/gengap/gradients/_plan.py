"""How the gradients of a model's examples are told apart."""

from dataclasses import dataclass, field
from typing import final

from ._rule import Axes

_MOST, _HELD = 64, 1 << 25


@final
@dataclass(kw_only=True)
class Plan:
    """What is known of a model's layers.

    Attributes:
        axes: Module name to the axis of the examples, where it is not the first.
        whole: Parameters whose gradients come from the model as a whole.
        several: Parameters that a batch has shown to be used again after they seemed complete.
        seen: Parameters that the first examples have used; None where nobody has looked.
        positions: Whether some layer sees several positions of an example.
        width: Largest number of floats of one example that passes a layer.
        moves: Whether rows may go with the data, so that their places are looked at anew in a run.
        apart: Module name to the axes on which each of its inputs may have the examples.
        one_by_one: Whether the model could not be vectorized over examples.
        channels_last: Whether images go through the model with the channels last in memory.
        forward: Whether inner products are had sooner in forward mode.
        forward_last: Whether images then have the channels last.
        agrees: Whether forward mode gave the inner products; None where nobody has looked.
    """

    axes: dict[str, int] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    several: set[str] = field(default_factory=set)
    seen: set[str] | None = None
    positions: bool = False
    width: int = 1
    moves: bool = False
    apart: dict[str, tuple[Axes, ...]] = field(default_factory=dict)
    one_by_one: bool = False
    channels_last: bool = False
    forward: bool = False
    forward_last: bool = False
    agrees: bool | None = None

    def chunk(self, limit: int) -> int:
        """Return how many examples to take at once: maps of 64 about stay in the cache."""
        if not self.positions:
            return limit
        return max(1, min(limit, _MOST, _HELD // self.width))
