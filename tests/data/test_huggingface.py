"""Twin: data sets of the library `datasets` as splits. Oracle: the arrays they were made of."""

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from gengap._errors import DataError
from gengap.data import as_split, as_splits

hf = pytest.importorskip("datasets")

pytestmark = pytest.mark.global_rng
RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (9, 3, 5, 3), dtype=np.uint8)  # a height that looks like channels
LABELS = [0, 1, 0, 1, 1, 0, 1, 0, 1]
NAMES = ["cat", "dog"]


def table(images=COLOUR, labels=LABELS, **more):
    features = {"image": hf.Image(), "label": hf.ClassLabel(names=NAMES)}
    columns = {"image": list(images), "label": list(labels)}
    for name, (feature, values) in more.items():
        features[name], columns[name] = feature, values
    return hf.Dataset.from_dict(columns, features=hf.Features(features))


def pixels(split):
    return (
        split.inputs
        if isinstance(split.inputs, torch.Tensor)
        else split.inputs.gather(torch.arange(len(split)))
    )


@pytest.mark.parametrize("in_memory", [2**20, 0])
def test_images_are_decoded_and_classes_keep_their_names(in_memory):
    split = as_split(table(), in_memory=in_memory)
    assert split.class_names == ("cat", "dog")
    assert split.targets.tolist() == LABELS
    assert isinstance(split.inputs, torch.Tensor) == (in_memory > 0)
    np.testing.assert_array_equal(pixels(split), COLOUR.transpose(0, 3, 1, 2))


def test_grey_images_have_one_channel_and_one_colour_image_makes_all_colour():
    grey = as_split(table(COLOUR[..., 0]))
    np.testing.assert_array_equal(grey.inputs[:, 0], COLOUR[..., 0])
    mixed = as_split(table([*COLOUR[:8, ..., 0], COLOUR[8]]))
    assert mixed.input_shape == (3, 3, 5)
    np.testing.assert_array_equal(mixed.inputs[0, 2], COLOUR[0, ..., 0])
    np.testing.assert_array_equal(mixed.inputs[8], COLOUR[8].transpose(2, 0, 1))


@pytest.mark.parametrize("in_memory", [2**20, 0])
@pytest.mark.parametrize(("dtype", "scale"), [(np.uint16, 65535), (np.float32, 1)])
def test_deep_images_are_one_channel_of_floats(dtype, scale, in_memory):
    values = (RNG.random((9, 3, 5)) * scale).astype(dtype)
    split = as_split(table(map(Picture.fromarray, values)), in_memory=in_memory)
    assert split.inputs.dtype == torch.float32
    np.testing.assert_allclose(split.batch()[0][:, 0], values / scale, rtol=1e-6)
    smaller = as_split(table(map(Picture.fromarray, values)), size=3)
    np.testing.assert_allclose(smaller.inputs[:, 0], values[..., 1:4] / scale, rtol=1e-6)
    with pytest.raises(DataError, match=r"image of example 8 of `data` must hold .* got 8-bit"):
        as_split(table([*map(Picture.fromarray, values[:8]), COLOUR[8]]))


def test_halves_of_a_dictionary_and_of_a_pair():
    halves = table().select(range(6)), table().select(range(6, 9))
    for name in ("test", "validation"):
        both = hf.DatasetDict({"train": halves[0], name: halves[1]})
        train, test = as_splits(both)
        assert (train.targets.tolist(), test.targets.tolist()) == (LABELS[:6], LABELS[6:])
    train, test = as_splits(halves)
    np.testing.assert_array_equal(test.inputs, COLOUR[6:].transpose(0, 3, 1, 2))
    assert as_split(both, half="test").targets.tolist() == LABELS[6:]
    assert len(as_split(hf.DatasetDict({"train": halves[0]}))) == 6
    whole = as_splits(table(), test_share=0.4)
    assert [len(half) for half in whole] == [5, 4]


def test_arrays_and_plain_labels():
    x = RNG.normal(size=(6, 4)).astype(np.float32)
    y = ["b", "a", "b", "a", "a", "b"]
    split = as_split(hf.Dataset.from_dict({"features": x.tolist(), "kind": y}))
    np.testing.assert_allclose(split.inputs, x)
    assert split.class_names == ("a", "b")
    assert split.targets.tolist() == [1, 0, 1, 0, 0, 1]
    cube = RNG.integers(0, 256, (6, 3, 4, 4), dtype=np.uint8)
    features = hf.Features({"x": hf.Array3D((3, 4, 4), "uint8"), "label": hf.Value("int64")})
    split = as_split(hf.Dataset.from_dict({"x": cube, "label": [0, 1] * 3}, features=features))
    assert split.inputs.dtype == torch.uint8
    np.testing.assert_array_equal(split.inputs, cube)


def test_real_targets():
    x = RNG.normal(size=(6, 4)).tolist()
    split = as_split(hf.Dataset.from_dict({"x": x, "y": [0.5] * 6, "id": [1] * 6}), regression=True)
    assert split.targets.tolist() == [[0.5]] * 6


def test_images_are_brought_to_one_size():
    pictures = [Picture.fromarray(image) for image in COLOUR]
    pictures[0] = pictures[0].resize((10, 6), Picture.Resampling.NEAREST)
    with pytest.raises(DataError, match="must all have the shape"):
        as_split(table(pictures))
    split = as_split(table(pictures), size=(3, 5))
    np.testing.assert_array_equal(split.inputs[1:], COLOUR[1:].transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: table(coarse=(hf.ClassLabel(names=["a", "b"]), LABELS)),
            r"one column of labels; got label, coarse\. .*select_columns\(\['image', 'label'\]\)",
        ),
        (
            lambda: table(depth=(hf.Image(), list(COLOUR))),
            r"one column of images or arrays; got image, depth",
        ),
        (lambda: table().remove_columns("label"), "one column of labels; got none among image"),
        (lambda: table().remove_columns("image"), "one column of images .* got none among label"),
        (lambda: table().with_transform(lambda rows: rows), "must be without a transform"),
        (lambda: table([None, *COLOUR[1:]]), r"images of `data` must be whole; .* example 0"),
        (lambda: table().select([]), "at least one example"),
        (
            lambda: hf.DatasetDict({"train": table(), "more": table()}),
            r"splits train and test \(or val\); got train, more",
        ),
        (lambda: table(labels=[-1, *LABELS[1:]]), "must be at least 0; got -1 in example 0"),
    ],
)
def test_what_is_ambiguous_or_broken_is_one_sentence(make, message):
    with pytest.raises(DataError, match=message):
        as_split(make())


def test_any_format_gives_the_same():
    for kind in ("torch", "numpy", None):
        split = as_split(table().with_format(kind))
        np.testing.assert_array_equal(split.inputs, COLOUR.transpose(0, 3, 1, 2))
        assert split.targets.tolist() == LABELS


def test_it_trains():
    import gengap

    train, test = as_splits(table())
    model = gengap.models.linear(train.input_shape, train.num_classes)
    run = gengap.fit(model, train, test=test, recipe=gengap.Recipe(epochs=1, batch_size=4))
    assert run.epochs == 1
