"""Labels replaced by the next class."""

from dataclasses import dataclass
from typing import final

import torch

from gengap._checks import check_probability
from gengap._streams import streams
from gengap.data import Split

from ._corruption import Corruption
from ._new_labels import is_spared, num_label_classes, with_labels


@final
@dataclass(frozen=True, kw_only=True)
class PairFlip(Corruption):
    """Replace each label, with a given probability, by the next class; the last by the first.

    A caricature of confusing similar classes: noise that can be learned. The expected share of
    changed labels is `probability`. The same draws are made at every probability: from one seed,
    the labels changed at a lower probability are among those changed at a higher one.

    Attributes:
        probability: Chance that a label is replaced, in [0, 1].
        test_labels: Change the labels of a test half too.
    """

    probability: float
    test_labels: bool = False

    def __post_init__(self) -> None:
        check_probability("probability", self.probability)

    def __call__(self, split: Split, /, *, seed: int) -> Split:
        """Return the split with some labels moved on by one. Draws n uniforms."""
        num_classes = num_label_classes(split, corruption="PairFlip", least=2)
        if is_spared(split, test_labels=self.test_labels):
            return split
        generator = streams(seed)("pair flip", split.half)
        chance = torch.rand(len(split), generator=generator, dtype=torch.float64)
        old = split.targets.cpu()
        following = (old + 1) % num_classes
        return with_labels(split, torch.where(chance < self.probability, following, old))
