"""What a recipe may add to the loss of a batch."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


class Regularizer(ABC):
    """A penalty on what a network gives for a batch, added to the batch's mean loss.

    Concrete ones are frozen dataclasses, so that a recipe with them is plain data. The losses
    that training records are without the penalty, as they are without weight decay.
    """

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the modules whose outputs the penalty reads, beside the network's own."""
        return ()

    @property
    @abstractmethod
    def label(self) -> str:
        """How tables and sentences name it."""

    @abstractmethod
    def penalty(self, outputs: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        """Return the penalty, shape [], differentiable, in the units of the loss.

        Args:
            outputs: Logits or predictions of the batch, [b, c].
            features: The outputs [b, ...] of the modules named by `layers`.
        """


def penalties(
    regularizers: Sequence[Regularizer], outputs: Tensor, features: Mapping[str, Tensor]
) -> Tensor:
    """Return the summed penalties of every lane, [l].

    Args:
        regularizers: One or more.
        outputs: Logits or predictions, [l, b, c].
        features: Outputs of named modules, [l, b, ...] each.
    """
    return torch.stack([
        torch.stack([
            r.penalty(outputs[lane], {name: features[name][lane] for name in r.layers})
            for r in regularizers
        ]).sum()
        for lane in range(len(outputs))
    ])
