"""Labels replaced by another one, all others alike."""

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
class SymmetricNoise(Corruption):
    """Replace each label, with a given probability, by one of the others drawn uniformly.

    The label never stays by chance, so the expected share of changed labels is `probability`. The
    same draws are made at every probability: from one seed, the labels changed at a lower
    probability are among those changed at a higher one, and are the same there.

    Attributes:
        probability: Chance that a label is replaced, in [0, 1].
        test_labels: Change the labels of a test half too.
    """

    probability: float
    test_labels: bool = False

    def __post_init__(self) -> None:
        check_probability("probability", self.probability)

    def __call__(self, split: Split, /, *, seed: int) -> Split:
        """Return the split with some labels replaced. Draws n uniforms and n offsets."""
        num_classes = num_label_classes(split, corruption="SymmetricNoise", least=2)
        if is_spared(split, test_labels=self.test_labels):
            return split
        generator = streams(seed)("symmetric noise", split.half)
        chance = torch.rand(len(split), generator=generator, dtype=torch.float64)
        offset = torch.randint(1, num_classes, (len(split),), generator=generator)
        old = split.targets.cpu()
        other = (old + offset) % num_classes
        return with_labels(split, torch.where(chance < self.probability, other, old))
