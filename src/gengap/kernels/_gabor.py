"""Gabor wavelets: how much of a line of each direction and width is where in an image."""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gengap._checks import check_count, check_positive

from ._images import check_images

_CHUNK = 256
_FAR = 12.0


@final
@dataclass(frozen=True, kw_only=True)
class GaborFeatures:
    r"""Moduli of Gabor responses, averaged over a grid of overlapping windows.

    $$\phi_{\lambda\theta g}(x) = \Big( \sum_u w_g(u)\, |x * \psi_{\lambda\theta}|(u) \Big)^q,
    \qquad \psi_{\lambda\theta}(u) = Z^{-1} e^{-|u|^2 / 2\sigma^2}
    (e^{2\pi i \langle u, e_\theta\rangle / \lambda} - \kappa), \quad \sigma = s\lambda$$

    $\kappa$ takes the mean out of every wavelet: a flat image has no response away from the
    border, outside of which images count as zero. Windows $w_g$ are Gaussian, of sum 1, on a grid
    of equal cells. As envelopes are round, a response is an image between two small matrices.

    Not invariant to contrast: a times an image has $a^q$ times its features. What moves by less
    than a cell changes them little.

    Attributes:
        wavelengths: Of the waves, in pixels. Positive.
        orientations: Directions, evenly spread over half a turn.
        spread: s, standard deviation of the envelope in wavelengths. Positive.
        grid: Windows along each side.
        overlap: Standard deviation of the windows, in cells of the grid. Positive.
        power: q; below 1 evens out strong and weak responses. Positive.

    Source:
        Zhang et al. (2017), arXiv:1611.03530, section 5, take "a Gabor wavelet transform" of
        MNIST and do not say which; this one is ours.
    """

    wavelengths: tuple[float, ...] = (4.0, 8.0)
    orientations: int = 8
    spread: float = 0.5
    grid: int = 7
    overlap: float = 0.5
    power: float = 0.5

    def __post_init__(self) -> None:
        if not self.wavelengths:
            raise ValueError("`wavelengths` must name at least one; got none.")
        for wavelength in self.wavelengths:
            check_positive("wavelengths", wavelength)
        for name in ("orientations", "grid"):
            check_count(name, getattr(self, name))
        for name in ("spread", "overlap", "power"):
            check_positive(name, getattr(self, name))

    def num_features(self, channels: int = 1) -> int:
        """Return the number of features of an image with so many channels."""
        return channels * len(self.wavelengths) * self.orientations * self.grid**2

    def __call__(self, images: Tensor) -> Tensor:
        """Return the features of images.

        Args:
            images: Real values, [n, c, h, w], or [n, h, w] for one channel.

        Returns:
            Features in the images' dtype, [n, p], p = `num_features(c)`: by channel, wavelength,
            orientation, row and column of the grid.

        Raises:
            ValueError: The images have another shape, or are not of floating point.
        """
        images = check_images(images)
        found = images.new_empty(len(images), self.num_features(images.shape[1]))
        windows = [_windows(side, self.grid, self.overlap) for side in images.shape[-2:]]
        above, beside = (window.to(images) for window in windows)
        waves = [wave for each in self.wavelengths for wave in self._waves(each, images)]
        for start in range(0, len(images), _CHUNK):
            part = images[start : start + _CHUNK]
            pooled = [above @ _response(part, wave).abs() @ beside.mT for wave in waves]
            # [b, c, grid, grid] a wave
            found[start : start + _CHUNK] = torch.stack(pooled, 2).pow(self.power).flatten(1)
        return found

    def _waves(self, wavelength: float, images: Tensor) -> list["_Wave"]:
        """Return what makes the responses of one wavelength, an orientation each."""
        height, width = images.shape[-2:]
        dtype = torch.promote_types(images.dtype, torch.complex64)
        sigma = self.spread * wavelength

        def matrix(side: int, frequency: float) -> Tensor:
            return _wave(side, sigma, frequency).to(images.device, dtype)

        found = []
        for turn in range(self.orientations):
            angle = math.pi * turn / self.orientations
            down = 2 * math.pi * math.sin(angle) / wavelength
            right = 2 * math.pi * math.cos(angle) / wavelength
            kappa = _mean(sigma, down) * _mean(sigma, right)
            found.append((
                (matrix(height, down), matrix(width, right)),
                (kappa * matrix(height, 0.0), matrix(width, 0.0)),
            ))
        return found


_Wave = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]


def _response(images: Tensor, wave: _Wave) -> Tensor:
    (rows, columns), (flat_rows, flat_columns) = wave
    pixels = images.to(rows.dtype)
    return rows @ pixels @ columns.mT - flat_rows @ pixels @ flat_columns.mT


def _envelope(sigma: float) -> tuple[Tensor, Tensor]:
    """Return offsets and a Gaussian of sum 1 on them."""
    reach = math.ceil(_FAR * sigma)
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
    heights = torch.exp(-(offsets**2) / (2 * sigma**2))
    return offsets, heights / heights.sum()


def _mean(sigma: float, frequency: float) -> float:
    """Return the mean of a wave under its envelope."""
    offsets, heights = _envelope(sigma)
    return float(heights @ torch.cos(frequency * offsets))


def _wave(side: int, sigma: float, frequency: float) -> Tensor:
    """Return the convolution of a line of pixels with a wave in its envelope, as a matrix."""
    place = torch.arange(side, dtype=torch.float64)
    apart = place[:, None] - place
    total = torch.exp(-(_envelope(sigma)[0] ** 2) / (2 * sigma**2)).sum()
    heights = torch.exp(-(apart**2) / (2 * sigma**2)) / total
    return torch.polar(heights, frequency * apart)


def _windows(side: int, grid: int, overlap: float) -> Tensor:
    """Return the weights of a line of pixels in every cell's window, [grid, side]."""
    cell = side / grid
    centres = (torch.arange(grid, dtype=torch.float64) + 0.5) * cell - 0.5
    apart = torch.arange(side, dtype=torch.float64) - centres[:, None]
    return torch.softmax(-(apart**2) / (2 * (overlap * cell) ** 2), dim=1)
