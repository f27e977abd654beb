"""Twin: standardization and crops against plain numpy, one image at a time, in float64."""

import numpy as np
import pytest
import torch

from gengap.data import Preprocessing, Split

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 3, 9, 6), dtype=np.uint8))


def whitened(image):
    """One image: (x - mean) / max(std, 1 / sqrt(pixels)), the population's std."""
    values = image.astype(np.float64) / 255
    mean = values.sum() / values.size
    std = (((values - mean) ** 2).sum() / values.size) ** 0.5
    return (values - mean) / max(std, values.size**-0.5)


def test_per_image_matches_the_twin():
    got = Preprocessing(scale=255, standardize="image")(IMAGES)
    assert got.dtype == torch.float32
    expected = np.stack([whitened(image) for image in IMAGES.numpy()])
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-5)  # float32 against float64


def test_statistics_are_those_of_the_cropped_window():
    got = Preprocessing(scale=255, crop=(5, 4), standardize="image")(IMAGES)
    expected = np.stack([whitened(image[:, 2:7, 1:5]) for image in IMAGES.numpy()])
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-5)


def test_a_constant_image_meets_the_floor():
    constant = torch.full((1, 3, 8, 8), 77, dtype=torch.uint8)
    assert Preprocessing(scale=255, standardize="image")(constant).abs().max() < 1e-5
    nearly = torch.zeros(1, 1, 2, 2)
    nearly[0, 0, 0, 0] = 0.04  # mean .01, std .0173 < 1 / sqrt(4)
    got = Preprocessing(standardize="image")(nearly).flatten()
    torch.testing.assert_close(got, torch.tensor([0.06, -0.02, -0.02, -0.02]))


@pytest.mark.parametrize(("shape", "axis"), [((6, 3, 4, 5), (1, 3, 1, 1)), ((6, 3), (1, 3)),
                                             ((6, 3, 7), (1, 3, 1))])  # fmt: skip
def test_per_data_set_takes_one_mean_a_channel_or_feature(shape, axis):
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    mean, std = (0.1, -2.0, 3.0), (0.5, 2.0, 10.0)
    got = Preprocessing(standardize="dataset", mean=mean, std=std)(torch.from_numpy(x))
    expected = (x - np.reshape(mean, axis)) / np.reshape(std, axis)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_one_mean_may_serve_all():
    x = torch.arange(8.0).view(2, 4)
    got = Preprocessing(standardize="dataset", mean=(1.0,), std=(2.0,))(x)
    torch.testing.assert_close(got, (x - 1) / 2)


@pytest.mark.parametrize(("side", "window"), [(28, 28), ((5, 6), (5, 6)), (1, 1), (9, 9)])
def test_centre_crop_takes_the_middle_rows_and_columns(side, window):
    coordinates = torch.arange(40 * 41, dtype=torch.float32).view(1, 1, 40, 41)
    got = Preprocessing(crop=side)(coordinates)
    height, width = window if isinstance(window, tuple) else (window, window)
    top, left = (40 - height) // 2, (41 - width) // 2
    assert got[0, 0, 0, 0] == top * 41 + left
    assert got[0, 0, -1, -1] == (top + height - 1) * 41 + left + width - 1
    assert tuple(got.shape[2:]) == (height, width)


def test_cifar_crop_leaves_a_border_of_two():
    image = torch.arange(32 * 32, dtype=torch.float32).view(1, 1, 32, 32)
    got = Preprocessing(crop=28)(image)
    assert torch.equal(got[0, 0], image[0, 0, 2:30, 2:30])


def test_stored_bytes_are_left_alone():
    before = IMAGES.clone()
    Preprocessing(scale=255, crop=4, standardize="image")(IMAGES)
    assert torch.equal(IMAGES, before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 0.0}, "`scale` must be positive and finite; got 0.0"),
        ({"crop": 0}, "`crop` must be a whole number of at least 1; got 0"),
        ({"crop": (3, 3, 3)}, r"`crop` must be a side or \(height, width\); got \(3, 3, 3\)"),
        ({"standardize": "batch"}, "`standardize` must be one of None, 'image', 'dataset'"),
        ({"standardize": "dataset"}, "`mean` and `std` go with"),
        ({"mean": (0.0,), "std": (1.0,)}, "`mean` and `std` go with"),
        ({"standardize": "dataset", "mean": (0.0,), "std": (0.0,)}, "`std` must be positive"),
    ],
)
def test_wrong_arguments_are_one_sentence(arguments, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing(**arguments)


@pytest.mark.parametrize(
    ("preprocessing", "message"),
    [
        (Preprocessing(crop=10), "`crop` must fit into images"),
        (Preprocessing(standardize="dataset", mean=(0.0, 1.0), std=(1.0, 1.0)),
         r"`mean` must hold one value, or one a channel; got 2 for examples of shape \(3, 9, 6\)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_examples_is_refused_with_the_split(preprocessing, message):
    with pytest.raises(ValueError, match=message):
        Split(inputs=IMAGES, targets=torch.arange(4), num_classes=4, preprocessing=preprocessing)
