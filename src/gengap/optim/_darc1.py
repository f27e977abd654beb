"""Kawaguchi's penalty on the largest mean output."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from torch import Tensor

from gengap._checks import check_positive

from ._regularizer import Regularizer


@final
@dataclass(frozen=True, kw_only=True)
class DARC1(Regularizer):
    r"""The largest over classes of the batch's mean absolute output.

    $$\frac{\lambda}{b} \max_k \sum_{i=1}^{b} \lvert h_k(x_i) \rvert$$

    Directly approximately regularizes complexity: with $\max_k \sum_i |h_k(x_i)|$ in the place
    of a supremum over random signs, it stands for the empirical Rademacher complexity of the
    outputs. Depends on the outputs alone, so no symmetry of the parameters changes it; adding one
    number to all logits, which cross-entropy does not see, does.

    Attributes:
        strength: The factor lambda, in units of the loss over units of the outputs. Positive.

    Source:
        Kawaguchi, Kaelbling and Bengio (2017), arXiv:1710.05468, the method DARC1.
    """

    strength: float

    def __post_init__(self) -> None:
        check_positive("strength", self.strength)

    @property
    def label(self) -> str:
        """How tables and sentences name it."""
        return "DARC1"

    def penalty(self, outputs: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        """Return the penalty of a batch, shape [].

        Args:
            outputs: Logits or predictions, [b, c].
            features: Not read.
        """
        return self.strength * outputs.abs().sum(0).amax() / len(outputs)
