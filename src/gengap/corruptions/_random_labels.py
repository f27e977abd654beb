"""Labels redrawn uniformly over all classes."""

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
class RandomLabels(Corruption):
    """Redraw each label uniformly over all classes, with a given probability.

    A redrawn label may equal the old one, so the expected share of changed labels is
    probability * (c - 1) / c, not probability; `changed` marks those that differ. The same draws
    are made at every probability: from one seed, the labels changed at a lower probability are
    among those changed at a higher one, and are the same there.

    Attributes:
        probability: Chance that a label is redrawn, in [0, 1]; 1 is the paper's random labels.
        test_labels: Change the labels of a test half too.

    Examples:
        >>> split = Split(inputs=torch.zeros(1000, 2), targets=torch.zeros(1000).long(),
        ...               num_classes=10)
        >>> RandomLabels(probability=0.0)(split, seed=0).changed.sum().item()
        0

    Source:
        Zhang et al. (2017), arXiv:1611.03530, section 2, "partially corrupted labels" and
        "random labels".
    """

    probability: float
    test_labels: bool = False

    def __post_init__(self) -> None:
        check_probability("probability", self.probability)

    def __call__(self, split: Split, /, *, seed: int) -> Split:
        """Return the split with some labels redrawn. Draws n uniforms and n labels."""
        num_classes = num_label_classes(split, corruption="RandomLabels")
        if is_spared(split, test_labels=self.test_labels):
            return split
        generator = streams(seed)("random labels", split.half)
        redrawn = torch.rand(len(split), generator=generator, dtype=torch.float64)
        labels = torch.randint(num_classes, (len(split),), generator=generator)
        old = split.targets.cpu()
        return with_labels(split, torch.where(redrawn < self.probability, labels, old))
