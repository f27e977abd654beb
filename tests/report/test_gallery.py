"""Closed form: example images. Oracle: the PNGs decoded again, pixel by pixel."""

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from gengap.report import Gallery


def decoded(gallery):
    sources = re.findall(r'src="data:image/png;base64,([^"]+)"', gallery.html())
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(source)))) for source in sources]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_bytes_come_back(channels, as_tensor):
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (4, channels, 5, 9), dtype=np.uint8)
    given = torch.from_numpy(images) if as_tensor else images
    for found, image in zip(decoded(Gallery(name="g", rows=[("a", given)])), images, strict=True):
        expected = image[0] if channels == 1 else np.moveaxis(image, 0, 2)
        np.testing.assert_array_equal(found, expected)


def test_floats_are_scaled_over_the_row():
    images = np.array([[[[-1.0, 0.0]]], [[[1.0, np.nan]]]])
    first, second = decoded(Gallery(name="g", rows=[("a", images)]))
    assert first.tolist() == [[0, 128]]
    assert second.tolist() == [[255, 0]]


def test_a_constant_set_is_grey():
    (found,) = decoded(Gallery(name="g", rows=[("a", np.full((1, 1, 2, 2), 7.0))]))
    assert set(found.ravel().tolist()) == {128}


def test_other_channels_show_their_mean():
    images = np.array([[[[0]], [[100]]]], dtype=np.uint8)
    (found,) = decoded(Gallery(name="g", rows=[("a", images)]))
    assert found.tolist() == [[50]]


def test_tables_are_strips_from_light_to_dark():
    (found,) = decoded(Gallery(name="g", rows=[("a", np.linspace(0, 1, 11)[None])]))
    assert found.shape == (1, 11, 3)
    assert (np.diff(found.astype(int).sum(2)[0]) < 0).all()


def test_labels_and_captions_are_escaped():
    text = Gallery(name="g", rows=[("<b>", np.zeros((1, 1, 1, 1)), ["<i>\"'"])]).html()
    assert "<b>" not in text and "<i>" not in text
    assert 'alt="&lt;b&gt;, example 1: &lt;i&gt;&quot;&#x27;"' in text


def test_rejects_other_shapes():
    with pytest.raises(ValueError, match=r"`rows` must hold examples of shape .* got \[2, 3, 4\]"):
        Gallery(name="g", rows=[("a", np.zeros((2, 3, 4)))])
    with pytest.raises(ValueError, match=r"one caption an example; got 1 for 2 of 'a'"):
        Gallery(name="g", rows=[("a", np.zeros((2, 4)), ["x"])])
