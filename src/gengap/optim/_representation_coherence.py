"""A penalty on how alike the representations of a batch's examples are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from torch import Tensor
from torch.nn import functional as F

from gengap._checks import check_positive

from ._regularizer import Regularizer


def representation_coherence(features: Tensor) -> Tensor:
    r"""Return the mean squared cosine between the representations of two examples, shape [].

    $$\frac{1}{b (b - 1)} \sum_{i \ne j} \cos^2(z_i, z_j)$$

    In [0, 1]; at least $(b / d - 1) / (b - 1)$ for b examples in d dimensions, none of them zero
    (Welch); a zero has cosine 0 with all. 0 for fewer than two examples. Scaling any
    representation does not change it.

    Args:
        features: Representations, [b, ...].
    """
    rows = features.flatten(1)
    if not rows.numel():
        return rows.sum()
    largest = rows.detach().abs().amax(1, keepdim=True)
    unit = F.normalize(rows / largest.where(largest > 0, 1.0), dim=1)
    if len(unit) < 2:
        return unit.sum() * 0
    gram = (unit @ unit.T).square()
    return (gram.sum() - gram.diagonal().sum()) / (len(unit) * (len(unit) - 1))


@final
@dataclass(frozen=True, kw_only=True)
class RepresentationCoherence(Regularizer):
    """Strength times the mean squared cosine between representations of a batch's examples.

    Sokolic et al. control the coherence of the representation to lower the Rademacher complexity
    of what stands on it; this form of the penalty is ours. It spreads all examples apart, those
    of one class too.

    Attributes:
        strength: In units of the loss. Positive.
        layer: Name of the module whose outputs are the representation, as of `named_modules`.

    Source:
        Sokolic, Giryes, Sapiro and Rodrigues (2016), Lessons from the Rademacher complexity for
        deep learning.
    """

    strength: float
    layer: str

    def __post_init__(self) -> None:
        check_positive("strength", self.strength)
        if not self.layer:
            raise ValueError("`layer` must name a module of the network; got ''.")

    @property
    def layers(self) -> tuple[str, ...]:
        """The module whose outputs it reads."""
        return (self.layer,)

    @property
    def label(self) -> str:
        """How tables and sentences name it."""
        return "representation coherence"

    def penalty(self, outputs: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        """Return the penalty of a batch, shape [].

        Args:
            outputs: Not read.
            features: Outputs of the layer, [b, ...].
        """
        return self.strength * representation_coherence(features[self.layer])
