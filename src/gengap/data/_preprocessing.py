"""From stored examples to what the network sees, on whole batches."""

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from gengap._checks import check_choice, check_non_negative, check_positive, check_sides

from ._augmentation import Augmentation
from ._ranks import Part


@final
@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    r"""Scale, crop, standardize: the fixed part of the way from storage to network.

    Per image, as in Zhang et al.: $x \leftarrow (x - \mathrm{mean}(x)) /
    \max(\mathrm{std}(x), 1/\sqrt{d})$ with mean and population standard deviation over all $d$
    pixels and channels of that image. Per data set: $(x - \mu_k) / \sigma_k$ for channel $k$.

    Attributes:
        scale: Stored values are divided by this; 255 for 8-bit images. Positive.
        crop: Side, or (height, width), of the window cut from the centre; None keeps all.
        standardize: "image", "dataset" or None.
        mean: Mean of each channel after scaling, or one for all; for "dataset".
        std: Standard deviation of each channel after scaling, or one for all; for "dataset".

    Source:
        Zhang et al. (2017), arXiv:1611.03530, appendix A.
    """

    scale: float = 1.0
    crop: int | tuple[int, int] | None = None
    standardize: Literal["image", "dataset"] | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_positive("scale", self.scale)
        check_choice("standardize", self.standardize, (None, "image", "dataset"))
        object.__setattr__(self, "crop", check_sides("crop", self.crop))
        if (self.standardize == "dataset") != bool(self.mean and self.std):
            raise ValueError(
                "`mean` and `std` go with `standardize='dataset'` and only with it; "
                f"got standardize={self.standardize!r}, mean={self.mean!r}, std={self.std!r}."
            )
        for value in self.std:
            check_positive("std", value)
        for value in self.mean:
            check_non_negative("mean", abs(value))

    @property
    def crop_size(self) -> tuple[int, int] | None:
        """Height and width after the crop, or None."""
        return (self.crop, self.crop) if isinstance(self.crop, int) else self.crop

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of one example after preprocessing, given the stored shape."""
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values and len(values) not in {1, shape[0] if shape else 1}:
                raise ValueError(
                    f"`{name}` must hold one value, or one a channel; got {len(values)} for "
                    f"examples of shape {shape}."
                )
        if self.crop_size is None:
            return shape
        if len(shape) != 3 or any(
            have < want for have, want in zip(shape[1:], self.crop_size, strict=True)
        ):
            raise ValueError(
                f"`crop` must fit into images (channels, height, width); got crop={self.crop!r} "
                f"for examples of shape {shape}."
            )
        return (shape[0], *self.crop_size)

    def cropped(self, raw: Tensor) -> Tensor:
        """Cut the window from the centre of [b, channels, height, width]; a view."""
        if self.crop_size is None:
            return raw
        height, width = self.crop_size
        top, left = (raw.shape[-2] - height) // 2, (raw.shape[-1] - width) // 2
        return raw[..., top : top + height, left : left + width]

    def standardized(self, x: Tensor) -> Tensor:
        """Standardize scaled examples [b, ...], by image or by data set."""
        if self.standardize == "image":
            flat = x.flatten(1)
            size = flat.shape[1]
            centred = flat - flat.mean(1, keepdim=True)
            # On a CPU ten times as fast as `torch.std_mean`.
            std = torch.linalg.vector_norm(centred, dim=1, keepdim=True) * size**-0.5
            return (centred / std.clamp_min(size**-0.5)).view_as(x)
        if self.standardize == "dataset":
            shape = (-1, *([1] * (x.ndim - 2)))
            return (x - x.new_tensor(self.mean).view(shape)) / x.new_tensor(self.std).view(shape)
        return x

    def keeps_whole(self, dtype: torch.dtype) -> bool:
        """Return whether stored examples of a dtype are tokens, which reach the network whole."""
        whole = dtype in (torch.int32, torch.int64)
        return whole and self.scale == 1 and self.standardize is None

    def __call__(
        self,
        raw: Tensor,
        *,
        augmentation: Augmentation | None = None,
        generator: torch.Generator | None = None,
        part: Part | None = None,
    ) -> Tensor:
        """Turn stored examples [b, ...] into network inputs [b, ...]: floats, or tokens.

        Whole numbers of 32 or 64 bits that nothing scales are tokens, and stay whole.

        Args:
            raw: Stored examples: unsigned bytes, floats or tokens.
            augmentation: Random changes of the images, for training.
            generator: Source of the augmentation's draws, on the CPU; required with it.
            part: Which part of a batch `raw` is, where it is not all of it.
        """
        if augmentation is not None:
            if generator is None:
                raise ValueError("`generator` is required with `augmentation`; got None.")
            raw = augmentation(raw, crop=self.crop_size, generator=generator, part=part)
        else:
            raw = self.cropped(raw)
        x = raw if raw.is_floating_point() or self.keeps_whole(raw.dtype) else raw.float()
        return self.standardized(x / self.scale if self.scale != 1 else x)
