"""What a training is at its last evaluation, for an interruption to fall back on."""

from dataclasses import dataclass
from typing import Self

from torch import Tensor

from ._program import Program


@dataclass(frozen=True)
class Recorded:
    """The lanes that train, as the last rows of their histories have measured them.

    Attributes:
        epoch: Epochs done.
        lanes: Which lanes they are.
        values: A copy of their parameters and buffers, name to [l, ...].
    """

    epoch: int
    lanes: tuple[int, ...]
    values: dict[str, Tensor]

    @classmethod
    def of(cls, program: Program, lanes: list[int], epoch: int) -> Self:
        """Copy what a program holds. Memory: that of its parameters and buffers."""
        held = {**program.parameters, **program.buffers}
        return cls(epoch, tuple(lanes), {k: v.detach().clone() for k, v in held.items()})

    def lane(self, lane: int) -> dict[str, Tensor]:
        """Return one lane's parameters and buffers."""
        place = self.lanes.index(lane)
        return {name: value[place].contiguous() for name, value in self.values.items()}

    def reason(self, epoch: int) -> str:
        """Say in one sentence that training was interrupted after so many epochs."""
        if epoch == self.epoch:
            return f"Interrupted after epoch {epoch}."
        return (
            f"Interrupted after epoch {epoch}; this is the run at epoch {self.epoch}, its last "
            "evaluation."
        )
