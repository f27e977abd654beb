"""Random convolutions: patches of the images themselves as filters, pooled over quadrants."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, final

import torch
from torch import Tensor, nn

from gengap._checks import check_choice, check_count, check_non_negative, check_positive
from gengap._streams import streams

from ._images import check_images

BLOCK = 512
_FILTERS, _IMAGES = 64, 8  # so that what is between two products stays in the cache
_SAMPLE = 50_000


@final
@dataclass(frozen=True, kw_only=True)
class RandomConvolutions:
    r"""How to draw a layer of convolutions whose filters are whitened patches of images.

    Every patch $u$ loses its mean and is divided by $\sqrt{\mathrm{var}(u) + c}$, then whitened,
    $\tilde u = (\Sigma + \epsilon I)^{-1/2} (u - \mu)$ (ZCA). Filters $f_j$ are such patches,
    drawn at random, at length 1. Activations are summed over the cells of a grid.

    - "soft_threshold": $\max(0, f_j^\top \tilde u - t)$ and $\max(0, -f_j^\top \tilde u - t)$;
      two features a filter and cell.
    - "triangle": $\max(0, \bar z - z_j)$, $z_j = \|\tilde u - f_j\|$, $\bar z$ its mean over
      all filters; one feature a filter and cell, for twice the products.

    Attributes:
        num_filters: F. The filters of a smaller bank with the same seed are the first of a
            larger one's.
        patch: Side of the filters, in pixels.
        grid: Cells along each side: 2 are quadrants.
        encoding: "soft_threshold" or "triangle".
        threshold: t, in units of whitened patches. At least 0; the triangle has none.
        contrast: c, in squared units of the images; 10 for bytes is 10 / 255^2 for [0, 1].
            Positive.
        whitening: epsilon, in units of the variance of normalized patches. Positive.
        seed: Of the patches that are drawn.

    Source:
        Coates and Ng (2011), The importance of encoding versus training with sparse coding and
        vector quantization, sections 2 and 4 (random patches, soft threshold); Coates, Lee and Ng
        (2011) for the normalization, the triangle and the pooling. Zhang et al. (2017),
        arXiv:1611.03530, section 5, take 32,000 random filters.
    """

    num_filters: int = 32_000
    patch: int = 6
    grid: int = 2
    encoding: Literal["soft_threshold", "triangle"] = "soft_threshold"
    threshold: float = 0.25
    contrast: float = 10 / 255**2
    whitening: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("num_filters", "patch", "grid"):
            check_count(name, getattr(self, name))
        check_choice("encoding", self.encoding, ("soft_threshold", "triangle"))
        check_non_negative("threshold", self.threshold)
        for name in ("contrast", "whitening"):
            check_positive(name, getattr(self, name))

    def fit(self, images: Tensor) -> "FilterBank":
        """Return the bank that these images give: whitening and filters.

        Args:
            images: Training images, [n, c, h, w] or [n, h, w], of floating point.

        Raises:
            ValueError: The images have another shape, or are too small for patches and grid.
        """
        images = check_images(images)
        side = min(images.shape[-2:])
        if side - self.patch + 1 < self.grid or not len(images):
            raise ValueError(
                f"`images` must be at least {self.patch + self.grid - 1} pixels high and wide for "
                f"patches of {self.patch} on a grid of {self.grid}; got {tuple(images.shape)}."
            )
        seen = self.normalized(_drawn(images, self.patch, _SAMPLE, self.seed, "whitening"), dim=1)
        mean = seen.mean(dim=0)
        seen -= mean
        values, vectors = torch.linalg.eigh(seen.T @ seen / len(seen))
        whitener = (vectors * (values.clamp(min=0) + self.whitening).rsqrt()) @ vectors.T
        drawn = _drawn(images, self.patch, self.num_filters, self.seed, "filters")
        filters = (self.normalized(drawn, dim=1) - mean) @ whitener
        filters /= filters.norm(dim=1, keepdim=True).clamp(min=1e-12)
        own = {"filters": filters, "whitener": whitener, "mean": mean}
        return FilterBank(how=self, **{name: one.to(images.dtype) for name, one in own.items()})

    def normalized(self, patches: Tensor, *, dim: int) -> Tensor:
        """Return patches, their pixels along `dim`, without their mean and at even contrast."""
        patches = patches - patches.mean(dim=dim, keepdim=True)
        variance = patches.square().mean(dim=dim, keepdim=True)
        return patches.mul_(variance.add_(self.contrast).rsqrt_())


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class FilterBank:
    """A drawn layer of random convolutions: images to features, a block of filters at a time.

    Memory is that of one block of features, whatever the number of filters.

    Attributes:
        how: The settings.
        filters: Whitened patches of length 1, [F, c * patch^2].
        whitener: ZCA matrix, [c * patch^2, c * patch^2].
        mean: The mean normalized patch, [c * patch^2].
    """

    how: RandomConvolutions
    filters: Tensor = field(repr=False)
    whitener: Tensor = field(repr=False)
    mean: Tensor = field(repr=False)

    @property
    def num_features(self) -> int:
        """Number of features p: cells times filters, twice that with the soft threshold."""
        return len(self.filters) * self.features_of_a_filter

    @property
    def features_of_a_filter(self) -> int:
        """How many neighbouring columns one filter gives."""
        return self.how.grid**2 * (2 if self.how.encoding == "soft_threshold" else 1)

    def blocks(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the features of images, [n, p], columns of at most 512 filters at a time.

        Columns go by filter, then half of the soft threshold, then cell. They are in the dtype of
        the training images.

        Args:
            images: [n, c, h, w] or [n, h, w], with the training images' channels.
        """
        images = check_images(images).to(self.filters)
        for start in range(0, len(self.filters), BLOCK):
            stop = min(start + BLOCK, len(self.filters))
            columns = (stop - start) * self.features_of_a_filter
            found = images.new_empty(len(images), columns)
            for first in range(0, len(images), _IMAGES):
                part = slice(first, first + _IMAGES)
                found[part] = self._features(images[part], start, stop)
            yield found

    def __call__(self, images: Tensor) -> Tensor:
        """Return all features of images, [n, p]."""
        return torch.cat(list(self.blocks(images)), dim=1)

    def _features(self, images: Tensor, start: int, stop: int) -> Tensor:
        """Return the features of a few images and the filters from `start` to `stop`."""
        side = self.how.patch
        patches = nn.functional.unfold(images, side)
        patches = self.how.normalized(patches, dim=1).movedim(1, 0).flatten(1)  # [d, b * place]
        white = self.whitener @ (patches - self.mean[:, None])
        high, wide = (size - side + 1 for size in images.shape[-2:])
        cells = _cells(high, wide, self.how.grid).to(images)
        triangle = self.how.encoding == "triangle"
        distances = self._mean_distances(white) if triangle else None
        pooled = []
        for first in range(start, stop, _FILTERS):
            near = self.filters[first : min(first + _FILTERS, stop)] @ white
            if distances is None:
                above = (near - self.how.threshold).clamp_(min=0)
                below = near.add_(self.how.threshold).clamp_(max=0).neg_()
                halves = [above, below]
            else:
                halves = [(distances[0] - _root(distances[1], near)).clamp_(min=0)]
            shape = (len(near), len(images), high * wide)
            pooled.append(torch.stack([half.view(shape) @ cells for half in halves], dim=1))
        return torch.cat(pooled).movedim(2, 0).flatten(1)  # [filter, half, b, cell] before

    def _mean_distances(self, white: Tensor) -> tuple[Tensor, Tensor]:
        """Return patches' mean distance to all filters, and their squared lengths plus 1."""
        lengths = white.square().sum(dim=0).add_(1.0)
        total = torch.zeros_like(lengths)
        for some in self.filters.split(_FILTERS):
            total += _root(lengths, some @ white).sum(dim=0)
        return total / len(self.filters), lengths


def _root(lengths: Tensor, near: Tensor) -> Tensor:
    """Return distances from squared lengths plus 1 and products; `near` is written over."""
    return near.mul_(-2).add_(lengths).clamp_(min=0).sqrt_()


def _cells(high: int, wide: int, grid: int) -> Tensor:
    """Return which place is in which cell of a grid, [high * wide, grid * grid], zeros and ones."""
    rows = nn.functional.one_hot(torch.arange(high) * grid // high, grid)
    columns = nn.functional.one_hot(torch.arange(wide) * grid // wide, grid)
    return torch.einsum("ia,jb->ijab", rows, columns).reshape(high * wide, grid * grid)


def _drawn(images: Tensor, side: int, count: int, seed: int, name: str) -> Tensor:
    """Return random patches, float64 [count, c * side * side], flat; the first are always same."""
    high, wide = (size - side + 1 for size in images.shape[-2:])
    offsets = torch.arange(side)
    found = []
    for block in range(0, count, BLOCK):
        stream = streams(seed)(name, block // BLOCK)
        picks = torch.rand(BLOCK, 3, generator=stream, dtype=torch.float64)[: count - block]
        which, row, column = (picks * torch.tensor([len(images), high, wide])).long().unbind(1)
        rows = (row[:, None] + offsets)[:, None, :, None]
        columns = (column[:, None] + offsets)[:, None, None, :]
        channels = torch.arange(images.shape[1])[:, None, None]
        patches = images[which[:, None, None, None], channels, rows, columns]
        found.append(patches.flatten(1).double())
    return torch.cat(found)
