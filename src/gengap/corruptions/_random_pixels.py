"""Pixels shuffled, in every image differently."""

from dataclasses import dataclass
from functools import partial
from typing import final

from torch import Tensor

from gengap._checks import check_choice
from gengap.data import Split

from ._corruption import Corruption
from ._example_draws import example_permutations
from ._new_pixels import Stage, When, num_channels, with_pixels


@final
@dataclass(frozen=True, kw_only=True)
class RandomPixels(Corruption):
    """Move the pixels of every image by a random permutation of its own.

    Only the colours that occur in an image are left to learn from. An example's permutation
    depends on the seed, the half and its index, not on the other examples. For examples of one
    or two axes the features are the pixels.

    Attributes:
        channels_together: Move the channels of a pixel together; else all numbers of the image
            are shuffled.
        when: "before" or "after" standardization. The centre crop always comes first.

    Source:
        Zhang et al. (2017), arXiv:1611.03530, section 2, "random pixels". The paper leaves
        channels and order open; the defaults are the usual reading.
    """

    channels_together: bool = True
    when: When = "before"

    def __post_init__(self) -> None:
        check_choice("when", self.when, ("before", "after"))

    def __call__(self, split: Split, /, *, seed: int) -> Split:
        """Return the split with its pixels permuted, in its stored dtype."""
        channels = num_channels(split.input_shape) if self.channels_together else 1
        name = f"random pixels {split.half}"
        return with_pixels(
            split,
            partial(_permuted, seed=seed, name=name, channels=channels),
            stage=Stage(preprocessing=split.preprocessing, when=self.when, scaled=False),
            identity=f"{self!r} seed={seed} {split.half}",
        )


def _permuted(examples: Tensor, indices: Tensor, *, seed: int, name: str, channels: int) -> Tensor:
    flat = examples.reshape(len(examples), channels, -1)  # [b, channels, pixels]
    orders = example_permutations(seed, name, indices, flat.shape[2]).to(examples.device)
    return flat.gather(2, orders[:, None, :].expand(flat.shape)).view(examples.shape)
