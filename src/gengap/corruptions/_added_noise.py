"""Gaussian noise of any strength added to the images."""

from dataclasses import dataclass
from functools import partial
from typing import final

from torch import Tensor

from gengap._checks import check_choice, check_non_negative
from gengap.data import Split

from ._corruption import Corruption
from ._example_draws import example_normals
from ._new_pixels import Stage, When, check_not_tokens, with_pixels


@final
@dataclass(frozen=True, kw_only=True)
class AddedNoise(Corruption):
    """Add independent Gaussian noise to every number of every image.

    Values are not clipped. The same draws are made at every scale: from one seed, twice the scale
    adds twice the same noise. An example's draws depend on the seed, the half and its index, not
    on the other examples.

    Attributes:
        scale: Standard deviation of the noise, at least 0, in units of the scaled pixels (8-bit
            images lie in [0, 1]); with `when="after"`, in units of the standardized ones.
        when: "before" or "after" standardization. The centre crop always comes first.
    """

    scale: float
    when: When = "before"

    def __post_init__(self) -> None:
        check_non_negative("scale", self.scale)
        check_choice("when", self.when, ("before", "after"))

    def __call__(self, split: Split, /, *, seed: int) -> Split:
        """Return the split with noise added, float32 unless stored as wider floats."""
        check_not_tokens(split)
        return with_pixels(
            split,
            partial(_noisy, seed=seed, name=f"added noise {split.half}", scale=self.scale),
            stage=Stage(preprocessing=split.preprocessing, when=self.when, scaled=True),
            identity=f"{self!r} seed={seed} {split.half}",
            changed=self.scale > 0,
        )


def _noisy(examples: Tensor, indices: Tensor, *, seed: int, name: str, scale: float) -> Tensor:
    noise = example_normals(seed, name, indices, tuple(examples.shape[1:]))
    return examples + scale * noise.to(examples)
