"""Images of Gaussian noise with the data's mean and variance."""

from dataclasses import dataclass
from functools import partial
from typing import Literal, final

import torch
from torch import Tensor

from gengap._checks import check_choice
from gengap.data import Split

from ._corruption import Corruption
from ._example_draws import example_normals
from ._new_pixels import Stage, When, check_not_tokens, num_channels, with_pixels

_LEAST_SHARE = 1e-6
"""Share of the variance in the mean square below which it is measured around the mean."""


@final
@dataclass(frozen=True, kw_only=True)
class GaussianPixels(Corruption):
    """Replace every pixel by a Gaussian draw with the mean and variance of the split's images.

    Nothing of the image is left. Values are not clipped, so some lie outside the range of the
    pixels. An example's draws depend on the seed, the half and its index, not on the other
    examples; the statistics are those of the split itself, and a streamed split is read once for
    them, or twice where the mean is a thousand times the standard deviation.

    Attributes:
        statistics: "global", one mean and variance of all numbers; or "channel", one for each
            channel (for each feature, if examples have one axis).
        when: "before" or "after" standardization. The centre crop always comes first.

    Source:
        Zhang et al. (2017), arXiv:1611.03530, section 2, "Gaussian". The paper leaves statistics
        and order open.
    """

    statistics: Literal["global", "channel"] = "global"
    when: When = "before"

    def __post_init__(self) -> None:
        check_choice("statistics", self.statistics, ("global", "channel"))
        check_choice("when", self.when, ("before", "after"))

    def __call__(self, split: Split, /, *, seed: int) -> Split:
        """Return the split with Gaussian pixels, float32 unless stored as wider floats."""
        check_not_tokens(split)
        stage = Stage(preprocessing=split.preprocessing, when=self.when, scaled=True)
        mean, std = _moments(split, stage, self.statistics)
        return with_pixels(
            split,
            partial(_drawn, seed=seed, name=f"gaussian pixels {split.half}", mean=mean, std=std),
            stage=stage,
            identity=f"{self!r} seed={seed} {split.half}",
        )


def _moments(split: Split, stage: Stage, statistics: str) -> tuple[Tensor, Tensor]:
    """Return mean and population standard deviation, float64, shaped to spread over examples."""
    shape = split.input_shape
    if statistics == "global":
        groups, axes = 1, [1] * len(shape)
    else:
        groups = shape[0] if len(shape) == 1 else num_channels(shape)
        axes = [groups, *[1] * (len(shape) - 1)]
    first, second = _powers(split, stage, torch.zeros(groups, dtype=torch.float64))
    variance = second - first.square()
    if (variance < _LEAST_SHARE * second).any():  # what is left is the rounding of the squares
        offset, spread = _powers(split, stage, first)
        variance = spread - offset.square()
    return first.view(axes), variance.clamp_min(0).sqrt().view(axes)


def _powers(split: Split, stage: Stage, centre: Tensor) -> Tensor:
    """Return the means of x - centre and of its square for every group, float64 [2, groups]."""
    total = torch.zeros(2, len(centre), dtype=torch.float64)
    for _, examples in stage.chunks(split):
        x = examples.double().reshape(len(examples), len(centre), -1)
        x = x - centre.to(x.device)[:, None]
        total += torch.stack([x.sum((0, 2)), x.square().sum((0, 2))]).cpu()
    return total / (len(split) * torch.Size(split.input_shape).numel() / len(centre))


def _drawn(
    examples: Tensor, indices: Tensor, *, seed: int, name: str, mean: Tensor, std: Tensor
) -> Tensor:
    draws = example_normals(seed, name, indices, tuple(examples.shape[1:])).to(examples)
    return draws * std.to(examples) + mean.to(examples)
