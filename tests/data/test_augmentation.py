"""Property and twin: windows, mirrors and turns against indexing, torch.rot90 and scipy."""

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from gengap._streams import streams
from gengap.data import Augmentation, Preprocessing
from gengap.data._augmentation import rotated

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 2, 7, 5), dtype=np.uint8))


def draws(seed=0):
    return streams(seed)("augmentation")


def windows(image, height, width):
    """Every window of an image by its offset."""
    rows, columns = image.shape[-2] - height + 1, image.shape[-1] - width + 1
    return {
        (i, j): image[..., i : i + height, j : j + width]
        for i in range(rows)
        for j in range(columns)
    }


def test_a_random_crop_is_a_window_of_its_own_image():
    got = Augmentation(random_crop=True)(IMAGES, crop=(4, 3), generator=draws())
    assert got.dtype == torch.uint8
    for image, cut in zip(IMAGES, got, strict=True):
        assert sum(torch.equal(cut, window) for window in windows(image, 4, 3).values()) == 1


def test_random_crops_are_uniform_over_windows():
    """Chi-square over the 4 x 3 windows of 12,000 crops, at a level of 1e-4."""
    image = torch.arange(35.0).view(1, 1, 7, 5).expand(12_000, 1, 7, 5)
    got = Augmentation(random_crop=True)(image, crop=(4, 3), generator=draws())
    counts = torch.bincount(got[:, 0, 0, 0].long(), minlength=35).view(7, 5)
    assert int(counts[:4, :3].sum()) == 12_000
    assert stats.chisquare(counts[:4, :3].flatten().numpy()).pvalue > 1e-4


def test_padding_gives_a_crop_of_the_same_size_room():
    image = torch.ones(64, 1, 6, 6)
    got = Augmentation(random_crop=True, padding=2)(image, crop=None, generator=draws())
    assert got.shape == image.shape
    sums = {int(value) for value in got.flatten(1).sum(1)}
    assert sums <= {h * w for h in (4, 5, 6) for w in (4, 5, 6)} and len(sums) > 2


def test_padding_without_a_random_crop_keeps_the_image():
    got = Augmentation(padding=3)(IMAGES, crop=None, generator=draws())
    assert torch.equal(got, IMAGES)
    got = Augmentation(padding=3)(IMAGES, crop=(9, 5), generator=draws())
    assert torch.equal(got[:, :, 1:8], IMAGES) and int(got[:, :, 0].sum()) == 0


def test_a_flip_mirrors_about_half_of_the_images():
    image = torch.arange(6.0).view(1, 1, 2, 3).expand(10_000, 1, 2, 3)
    got = Augmentation(flip=True)(image, crop=None, generator=draws())
    mirrored = (got == torch.tensor([[2.0, 1.0, 0.0], [5.0, 4.0, 3.0]])).flatten(1).all(1)
    same = (got == image).flatten(1).all(1)
    assert bool((mirrored ^ same).all())
    assert abs(int(mirrored.sum()) - 5000) < 5 * 50  # five standard deviations


def test_no_turn_is_the_identity():
    assert torch.equal(rotated(IMAGES, torch.zeros(3)), IMAGES)
    torch.testing.assert_close(rotated(IMAGES.float(), torch.zeros(3)), IMAGES.float())


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_of_squares_equal_rot90(quarters):
    square = IMAGES[..., :5, :]
    got = rotated(square, torch.full((3,), 90.0 * quarters))
    assert torch.equal(got, torch.rot90(square, quarters, (-2, -1)))


@pytest.mark.parametrize(("height", "width"), [(40, 40), (48, 30), (24, 60)])
@pytest.mark.parametrize("degrees", [25.0, -25.0, 10.0])
def test_turns_equal_those_of_scipy_away_from_the_border(height, width, degrees):
    """A smooth image, so that borders, treated differently there, are the only difference."""
    y, x = np.mgrid[:height, :width]
    image = (np.sin(x / 5) + np.cos(y / 7) + x * y / 500).astype(np.float32)
    expected = ndimage.rotate(image, degrees, reshape=False, order=1, mode="constant")
    got = rotated(torch.from_numpy(image)[None, None], torch.tensor([degrees]))[0, 0].numpy()
    inner = ndimage.rotate(np.ones_like(image), degrees, reshape=False, order=1) > 0.999
    inner = ndimage.binary_erosion(inner, iterations=2)
    assert inner.sum() > 0.4 * image.size
    np.testing.assert_allclose(got[inner], expected[inner], atol=1e-4)


def test_turns_stay_within_their_bound():
    """A dot right of the centre: its angle afterwards is the turn."""
    image = torch.zeros(200, 1, 41, 41)
    image[:, 0, 20, 38] = 1
    got = Augmentation(rotation=25.0)(image, crop=None, generator=draws())[:, 0]
    y, x = torch.meshgrid(20.0 - torch.arange(41), torch.arange(41) - 20.0, indexing="ij")
    mass = got.sum((1, 2))
    angle = torch.rad2deg(torch.atan2((got * y).sum((1, 2)) / mass, (got * x).sum((1, 2)) / mass))
    assert float(angle.abs().max()) <= 25.5
    assert float(angle.max()) > 20 and float(angle.min()) < -20


def test_draws_come_only_from_the_generator():
    augmentation = Augmentation(random_crop=True, flip=True, rotation=20, padding=1)
    first, second, other = (
        augmentation(IMAGES, crop=(4, 4), generator=draws(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, second) and not torch.equal(first, other)


def test_what_is_switched_off_draws_nothing():
    generator = draws()
    before = generator.get_state()
    assert torch.equal(Augmentation()(IMAGES, crop=None, generator=generator), IMAGES)
    assert torch.equal(generator.get_state(), before)


def test_preprocessing_augments_before_it_whitens():
    generator, twin = draws(), draws()
    preprocessing = Preprocessing(scale=255, crop=(4, 4), standardize="image")
    augmentation = Augmentation(random_crop=True, flip=True)
    got = preprocessing(IMAGES, augmentation=augmentation, generator=generator)
    cut = augmentation(IMAGES, crop=(4, 4), generator=twin)
    torch.testing.assert_close(got, Preprocessing(scale=255, standardize="image")(cut))


def test_wrong_uses_are_one_sentence():
    with pytest.raises(ValueError, match=r"needs images .*; got examples of shape \(3,\)"):
        Augmentation(flip=True)(torch.zeros(2, 3), crop=None, generator=draws())
    with pytest.raises(ValueError, match=r"`crop` must fit into the images"):
        Augmentation(random_crop=True)(IMAGES, crop=(8, 3), generator=draws())
    with pytest.raises(ValueError, match="`generator` is required"):
        Preprocessing()(IMAGES, augmentation=Augmentation(flip=True))
    with pytest.raises(ValueError, match="`rotation` must be at least 0"):
        Augmentation(rotation=-1.0)
