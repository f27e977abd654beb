"""What the trainer asks of a stack of networks."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from gengap.data import Part, Ranks


class LanesUnavailable(Exception):
    """This network cannot be trained as a stack; train its runs one after the other."""


class Program(ABC):
    """l networks of one architecture, evaluated and differentiated together.

    Attributes:
        parameters: What is trained, name to [l, ...]; changed in place by the optimizer.
        buffers: What is not trained, name to [l, ...].
        ranks: The processes that share each batch.
    """

    ranks = Ranks()

    parameters: dict[str, Tensor]
    buffers: dict[str, Tensor]

    @abstractmethod
    def gradients(
        self, x: Tensor, y: Tensor, part: Part | None = None
    ) -> tuple[Tensor, list[Tensor | None]]:
        """Return the mean losses [l] of a batch and their gradients, in the parameters' order.

        None stands for the gradient of a parameter that the losses do not use. Of a part of a
        batch, what it contributes to the mean of the whole: over all parts, losses and gradients
        add up. The gradients may be overwritten by the next call.

        Args:
            x: Network inputs, [l, b, ...].
            y: Targets, [l, b] or [l, b, c].
            part: Which part of the batch these are; None for all of it.
        """

    @abstractmethod
    def outputs(self, x: Tensor) -> Tensor:
        """Return the outputs [l, b, c] in evaluation mode, without a graph."""

    @abstractmethod
    def start_epoch(self, generators: list[torch.Generator]) -> None:
        """Take the generators, one a lane, of the epoch's draws inside the network."""

    def keep(self, lanes: Tensor) -> None:
        """Keep only the lanes at these indices."""
        self.load({
            name: value[lanes] for name, value in {**self.parameters, **self.buffers}.items()
        })

    @abstractmethod
    def load(self, values: dict[str, Tensor]) -> None:
        """Take new values, name to [l, ...], for all parameters and buffers."""

    def lane(self, index: int) -> dict[str, Tensor]:
        """Return a copy of one lane's parameters and buffers, axes in their order in memory."""
        values = {**self.parameters, **self.buffers}
        plain = torch.contiguous_format
        return {
            name: value[index].detach().clone(memory_format=plain) for name, value in values.items()
        }

    @property
    def num_lanes(self) -> int:
        """Number of lanes l."""
        return len(next(iter(self.parameters.values())))
