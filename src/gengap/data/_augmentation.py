"""Random changes of training images: crop, flip, rotation."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn import functional as F

from gengap._checks import check_non_negative, keep_counts

from ._ranks import Part


@final
@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random changes of training images, drawn anew for every example and epoch.

    Attributes:
        random_crop: Cut the preprocessing's window at a random place instead of the centre.
        padding: Zeros added on every side first, in pixels, so that a crop has room.
        flip: Mirror left to right with probability 1/2.
        rotation: Largest rotation either way, in degrees; zeros come in at the corners.

    Source:
        Zhang et al. (2017), arXiv:1611.03530: random crops (table 1), flips and rotations of up
        to 25 degrees (table 4).
    """

    random_crop: bool = False
    padding: int = 0
    flip: bool = False
    rotation: float = 0.0

    def __post_init__(self) -> None:
        keep_counts(self, "padding", least=0)
        check_non_negative("rotation", self.rotation)

    def __call__(
        self,
        raw: Tensor,
        *,
        crop: tuple[int, int] | None,
        generator: torch.Generator,
        part: Part | None = None,
    ) -> Tensor:
        """Change images [b, channels, height, width]; returns [b, channels, *crop].

        Without `crop` the images keep their size, padding or not.

        Draws, in this order and only where switched on: b flips, b rotations, 2 b offsets; for
        a part of a batch it draws what the whole batch takes, and uses its own.
        """
        part = part or Part(start=0, stop=len(raw), whole=len(raw))
        if raw.ndim != 4:
            raise ValueError(
                "`augmentation` needs images (channels, height, width); got examples of shape "
                f"{tuple(raw.shape[1:])}."
            )
        window = crop or (raw.shape[-2], raw.shape[-1])
        if self.flip:
            mirror = part.of(torch.rand(part.whole, generator=generator)).to(raw.device) < 0.5
            raw = torch.where(mirror.view(-1, 1, 1, 1), raw.flip(-1), raw)
        if self.rotation:
            draws = part.of(torch.rand(part.whole, generator=generator))
            raw = rotated(raw, (2 * draws - 1) * self.rotation)
        if self.padding:
            raw = F.pad(raw, (self.padding,) * 4)
        if self.random_crop:
            return _cropped(raw, window, part.of(torch.rand(part.whole, 2, generator=generator)))
        top, left = (raw.shape[-2] - window[0]) // 2, (raw.shape[-1] - window[1]) // 2
        return raw[..., top : top + window[0], left : left + window[1]]


def _cropped(raw: Tensor, crop: tuple[int, int], draws: Tensor) -> Tensor:
    """Cut one window an image, at draws [b, 2] in [0, 1), by the numbers of its pixels."""
    slack = torch.tensor([raw.shape[-2] - crop[0], raw.shape[-1] - crop[1]])
    if (slack < 0).any():
        raise ValueError(
            f"`crop` must fit into the images; got crop={crop} for images of "
            f"{tuple(raw.shape[-2:])}."
        )
    offset = (draws * (slack + 1)).long().to(raw.device)
    rows = offset[:, :1] + torch.arange(crop[0], device=raw.device)
    columns = offset[:, 1:] + torch.arange(crop[1], device=raw.device)
    pixels = rows[:, :, None] * raw.shape[-1] + columns[:, None, :]
    chosen = pixels.flatten(1)[:, None].expand(-1, raw.shape[1], -1)
    return raw.flatten(2).gather(2, chosen).view(*raw.shape[:2], *crop)


def rotated(raw: Tensor, degrees: Tensor) -> Tensor:
    """Turn images [b, channels, height, width] counter-clockwise by `degrees` [b].

    About the centre, with bilinear interpolation; zeros come in from outside. The grid's axes
    both run from -1 to 1, so the turn is stretched by the sides' ratio.
    """
    angle = torch.deg2rad(degrees).to(raw.device)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    aspect = raw.shape[-2] / raw.shape[-1]
    rows = [
        torch.stack([cos, -sin * aspect, zero], 1),
        torch.stack([sin / aspect, cos, zero], 1),
    ]
    x = raw.float()
    grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    turned = F.grid_sample(x, grid, align_corners=False)
    return turned if raw.is_floating_point() else turned.round().to(raw.dtype)
