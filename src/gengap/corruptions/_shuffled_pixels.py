"""Pixels shuffled, in every image alike."""

from dataclasses import dataclass
from functools import partial
from typing import final

import torch
from torch import Tensor

from gengap._checks import check_choice
from gengap._streams import streams
from gengap.data import Split

from ._corruption import Corruption
from ._new_pixels import Stage, When, num_channels, with_pixels


@final
@dataclass(frozen=True, kw_only=True)
class ShuffledPixels(Corruption):
    """Move the pixels of every image by one and the same random permutation.

    One seed gives one permutation for the train and the test half. What a network that ignores
    positions could learn is all still there; neighbourhoods are gone. For examples of one or two
    axes the features are the pixels.

    Attributes:
        channels_together: Move the channels of a pixel together; else all numbers of the image
            are shuffled.
        when: "before" or "after" standardization. The centre crop always comes first.

    Source:
        Zhang et al. (2017), arXiv:1611.03530, section 2, "shuffled pixels". The paper leaves
        channels and order open; the defaults are the usual reading.
    """

    channels_together: bool = True
    when: When = "before"

    def __post_init__(self) -> None:
        check_choice("when", self.when, ("before", "after"))

    def __call__(self, split: Split, /, *, seed: int) -> Split:
        """Return the split with shuffled pixels, in its stored dtype. Draws one permutation."""
        channels = num_channels(split.input_shape) if self.channels_together else 1
        size = torch.Size(split.input_shape).numel() // channels
        order = torch.randperm(size, generator=streams(seed)("shuffled pixels"))
        return with_pixels(
            split,
            partial(_shuffled, order=order, channels=channels),
            stage=Stage(preprocessing=split.preprocessing, when=self.when, scaled=False),
            identity=f"{self!r} seed={seed}",
        )


def _shuffled(examples: Tensor, indices: Tensor, *, order: Tensor, channels: int) -> Tensor:
    flat = examples.reshape(len(examples), channels, -1)
    return flat[..., order.to(examples.device)].view(examples.shape)
