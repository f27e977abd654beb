"""Twin: convolution with a wavelet written out in two dimensions; property: what moves little."""

import math

import pytest
import torch

from gengap.kernels import GaborFeatures


def draw(n=3, channels=2, high=11, wide=9, dtype=torch.float64):
    return torch.rand(
        n, channels, high, wide, generator=torch.Generator().manual_seed(1), dtype=dtype
    )


def written_out(images, wavelength, angle, spread, grid, overlap, power):
    """One wavelet's features of one-channel images, pixel by pixel."""
    sigma, reach = spread * wavelength, 40
    row, column = torch.meshgrid(*[torch.arange(-reach, reach + 1.0).double()] * 2, indexing="ij")
    envelope = torch.exp(-(row**2 + column**2) / (2 * sigma**2))
    envelope /= envelope.sum()
    along = row * math.sin(angle) + column * math.cos(angle)
    wave = torch.polar(torch.ones_like(along), 2 * math.pi * along / wavelength)
    wavelet = envelope * (wave - (envelope * wave).sum())
    high, wide = images.shape[-2:]
    response = torch.zeros(images.shape, dtype=torch.complex128)
    for i in range(high):
        for j in range(wide):
            down = slice(i + reach - high + 1, i + reach + 1)
            right = slice(j + reach - wide + 1, j + reach + 1)
            response[:, i, j] = (wavelet[down, right].flip(0, 1) * images).sum((1, 2))
    found = torch.zeros(len(images), grid, grid, dtype=torch.float64)
    for a in range(grid):
        for b in range(grid):
            middle = ((a + 0.5) * high / grid - 0.5, (b + 0.5) * wide / grid - 0.5)
            down = (torch.arange(high).double() - middle[0]) / (overlap * high / grid)
            right = (torch.arange(wide).double() - middle[1]) / (overlap * wide / grid)
            window = torch.exp(-(down[:, None] ** 2 + right**2) / 2)
            found[:, a, b] = (response.abs() * window).sum((-2, -1)) / window.sum()
    return found**power


def test_features_are_the_convolutions_written_out():
    images = draw(2, 1, 6, 5)
    how = {"spread": 0.4, "grid": 2, "overlap": 0.6, "power": 0.7}
    found = GaborFeatures(wavelengths=(3.0, 5.0), orientations=3, **how)(images)
    wanted = [
        written_out(images[:, 0], wavelength, math.pi * turn / 3, **how).flatten(1)
        for wavelength in (3.0, 5.0)
        for turn in range(3)
    ]
    torch.testing.assert_close(found, torch.cat(wanted, dim=1), rtol=1e-10, atol=1e-12)


def test_channels_and_examples_are_taken_one_by_one():
    images, gabor = draw(300), GaborFeatures(grid=3)
    found = gabor(images)
    assert found.shape == (300, gabor.num_features(2))
    alone = torch.cat([gabor(images[290:291, channel]) for channel in (0, 1)], dim=1)
    torch.testing.assert_close(found[290:291], alone, rtol=1e-10, atol=1e-12)
    assert gabor(images.float()).dtype == torch.float32


def test_contrast_is_a_power_and_flat_images_say_nothing_inside():
    images = draw()
    torch.testing.assert_close(
        GaborFeatures(power=0.5)(9 * images), 3 * GaborFeatures(power=0.5)(images)
    )
    flat = GaborFeatures(wavelengths=(3.0,), grid=9, power=1.0)(torch.ones(1, 1, 45, 45).double())
    assert flat.reshape(8, 9, 9)[:, 4, 4].max() < 1e-9
    assert flat.max() > 0.04  # the border is an edge


def test_a_stroke_answers_in_its_own_direction():
    image = torch.zeros(1, 1, 28, 28)
    image[..., 13:15, 4:24] = 1.0  # across: the wave that runs down sees it
    found = GaborFeatures(orientations=4, wavelengths=(6.0,))(image).reshape(4, -1).sum(1)
    assert found.argmax() == 2


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"wavelengths": ()}, "`wavelengths` must name at least one; got none."),
        ({"wavelengths": (0.0,)}, "`wavelengths` must be positive and finite; got 0.0."),
        ({"grid": 0}, "`grid` must be a whole number of at least 1; got 0."),
        ({"power": -1.0}, "`power` must be positive and finite; got -1.0."),
    ],
)
def test_wrong_settings_are_told(how, said):
    with pytest.raises(ValueError, match=said):
        GaborFeatures(**how)


def test_wrong_images_are_told():
    with pytest.raises(ValueError, match=r"`images` must have shape .* Give flat pixels"):
        GaborFeatures()(torch.zeros(5, 784))
    with pytest.raises(ValueError, match=r"`images` must be of floating point; got torch.uint8"):
        GaborFeatures()(torch.zeros(5, 1, 8, 8, dtype=torch.uint8))
