"""Twin: image files against the arrays they were written from (PNG is lossless)."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from gengap._errors import DataError
from gengap.data import ImageFolderSource, as_split, as_splits


def image(seed, height=5, width=7, channels=3):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write(folder, classes=("ant", "bee"), n=5, start=0, **shape):
    """Write n images a class; return them in the order of class and name."""
    written = []
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(n):
            pixels = image(start + 100 * number + index, **shape)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
            written.append(pixels)
    return np.stack(written)


@pytest.mark.parametrize("in_memory", [2**30, 0], ids=["memory", "streamed"])
def test_images_are_read_in_order_with_channels_first(tmp_path, in_memory):
    pixels = write(tmp_path)
    split = as_split(tmp_path, in_memory=in_memory)
    assert isinstance(split.inputs, ImageFolderSource) == (in_memory == 0)
    assert split.inputs.dtype == torch.uint8 and split.input_shape == (3, 5, 7)
    got = split.gather(torch.arange(10)).numpy()
    assert np.array_equal(got, pixels.transpose(0, 3, 1, 2))
    assert split.class_names == ("ant", "bee") and split.targets.tolist() == [0] * 5 + [1] * 5
    x, y = split.batch(torch.tensor([9, 0]))
    np.testing.assert_allclose(x.numpy(), got[[9, 0]] / np.float32(255))
    assert y.tolist() == [1, 0]


def test_grey_images_have_one_channel_and_mixed_ones_three(tmp_path):
    pixels = write(tmp_path, channels=1)
    split = as_split(str(tmp_path))
    assert np.array_equal(split.inputs.numpy(), pixels[:, None])
    Image.fromarray(image(0)).save(tmp_path / "ant" / "colour.png")
    split = as_split(tmp_path)
    assert split.input_shape == (3, 5, 7)
    assert np.array_equal(split.inputs[0].numpy(), np.stack([pixels[0]] * 3))


DEEP = {
    "16-bit png": ("png", lambda g: g.integers(0, 65536, (5, 7)).astype(np.uint16), 65535),
    "16-bit tiff": ("tif", lambda g: g.integers(0, 65536, (5, 7)).astype(np.uint16), 65535),
    "16-bit pgm": ("pgm", lambda g: g.integers(0, 65536, (5, 7)).astype(np.uint16), 65535),
    "floats": ("tiff", lambda g: g.normal(size=(5, 7)).astype(np.float32), 1),
}


def write_deep(folder, kind, n=3):
    """Write n deep images in each of two classes; return what a network should see of them."""
    suffix, draw, scale = DEEP[kind]
    generator, written = np.random.default_rng(3), []
    for name in ("ant", "bee"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(n):
            pixels = draw(generator)
            path = folder / name / f"{index}.{suffix}"
            if suffix == "pgm":  # early versions of Pillow read these and do not write them
                path.write_bytes(b"P5 7 5 65535\n" + pixels.astype(">u2").tobytes())
            else:
                Image.fromarray(pixels).save(path)
            written.append(pixels.astype(np.float64) / scale)
    return np.stack(written)[:, None]


@pytest.mark.parametrize("kind", DEEP)
@pytest.mark.parametrize("in_memory", [2**30, 0], ids=["memory", "streamed"])
def test_images_of_16_bits_and_of_floats_are_one_channel_of_floats(tmp_path, kind, in_memory):
    pixels = write_deep(tmp_path, kind)
    split = as_split(tmp_path, in_memory=in_memory)
    assert isinstance(split.inputs, ImageFolderSource) == (in_memory == 0)
    assert split.inputs.dtype == torch.float32 and split.input_shape == (1, 5, 7)
    np.testing.assert_allclose(split.batch()[0], pixels, rtol=1e-6)


def test_deep_images_count_four_bytes_a_pixel(tmp_path):
    write_deep(tmp_path, "16-bit png")
    assert isinstance(as_split(tmp_path, in_memory=6 * 35 * 4).inputs, torch.Tensor)
    assert isinstance(as_split(tmp_path, in_memory=6 * 35 * 4 - 1).inputs, ImageFolderSource)


@pytest.mark.parametrize("kind", DEEP)
def test_size_scales_and_cuts_deep_images(tmp_path, kind):
    pixels = write_deep(tmp_path, kind)
    got = as_split(tmp_path, size=5).batch()[0]
    np.testing.assert_allclose(got, pixels[..., 1:6], rtol=1e-6)
    assert as_split(tmp_path, size=(10, 14)).batch()[0].mean() == pytest.approx(
        pixels.mean(), abs=0.05
    )


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("16-bit png", np.uint8, "must hold 16-bit numbers like the first image; got 8-bit"),
        ("16-bit png", np.float32, "must hold 16-bit numbers like the first image; got floats"),
        ("floats", np.uint16, "must hold floats like the first image; got 16-bit numbers"),
        ("floats", np.int32, "must hold 8-bit or 16-bit numbers or floats; got 32-bit whole"),
    ],
)
def test_kinds_of_images_that_do_not_mix_are_one_sentence(tmp_path, first, second, message):
    write_deep(tmp_path, first)
    path = tmp_path / "bee" / "9.tif"
    Image.fromarray(np.zeros((5, 7), second)).save(path)
    with pytest.raises(DataError, match=message) as error:
        as_split(tmp_path)
    assert str(path) in str(error.value)


def test_deep_images_that_change_or_are_not_finite_are_named(tmp_path):
    write_deep(tmp_path, "floats")
    split = as_split(tmp_path, in_memory=0)
    path = tmp_path / "ant" / "0.tiff"
    Image.fromarray(np.full((5, 7), np.nan, np.float32)).save(path)
    with pytest.raises(DataError, match=r"0.tiff` must be finite; got NaN"):
        split.batch()
    Image.fromarray(np.zeros((5, 7), np.uint8)).save(path)
    with pytest.raises(DataError, match="got 8-bit numbers where the others hold floats"):
        split.batch()


def test_deeper_folders_and_other_files(tmp_path):
    write(tmp_path)
    (tmp_path / "ant" / "more").mkdir()
    Image.fromarray(image(7)).save(tmp_path / "ant" / "more" / "9.PNG")
    (tmp_path / "ant" / "notes.txt").write_text("hello")
    (tmp_path / "ant" / ".hidden.png").write_bytes(b"")
    (tmp_path / ".cache").mkdir()
    assert torch.bincount(as_split(tmp_path).targets).tolist() == [6, 5]


@pytest.mark.parametrize("in_memory", [0, 1 << 30])
def test_every_example_has_its_file(tmp_path, in_memory):
    write(tmp_path)
    train, test = as_splits(tmp_path, in_memory=in_memory)
    for split in (train, test, train[[3, 0]], test[1:], train[torch.arange(8) % 2 == 0]):
        read = np.stack([np.asarray(Image.open(tmp_path / file)) for file in split.files])
        pixels = split.gather(torch.arange(len(split)))
        assert np.array_equal(pixels.numpy(), read.transpose(0, 3, 1, 2))
        labels = [file.split("/")[0] for file in split.files]
        assert labels == [split.class_names[k] for k in split.targets]
    with pytest.raises(ValueError, match=r"name each of its 8 examples; got shape \(7,\)"):
        replace(train, files=train.files[1:])
    listed = replace(train, files=list(train.files))
    assert listed[:2].files.tolist() == train.files[:2].tolist()
    with pytest.raises(ValueError, match="`files` of"):
        replace(train, files="12345678")
    assert as_split(np.zeros((4, 3)), [0, 1, 0, 1]).files is None


@pytest.mark.parametrize("test_name", ["test", "val"])
def test_train_and_test_folders_are_the_halves(tmp_path, test_name):
    first = write(tmp_path / "train")
    second = write(tmp_path / test_name, classes=("bee",), n=2, start=900)
    train, test = as_splits(tmp_path)
    assert np.array_equal(train.inputs.numpy(), first.transpose(0, 3, 1, 2))
    assert np.array_equal(test.inputs.numpy(), second.transpose(0, 3, 1, 2))
    assert test.targets.tolist() == [1, 1] and test.half == "test"
    assert as_split(tmp_path, half="test").fingerprint() == test.fingerprint()
    assert as_split(tmp_path).fingerprint() == train.fingerprint()


def test_one_folder_is_divided(tmp_path):
    write(tmp_path)
    train, test = as_splits(tmp_path, in_memory=0)
    assert (len(train), len(test)) == (8, 2)
    assert torch.bincount(test.targets).tolist() == [1, 1]
    assert test.batch()[0].shape == (2, 3, 5, 7)


def test_size_scales_and_cuts_the_centre(tmp_path):
    write(tmp_path, height=8, width=8)
    ramp = np.tile(np.arange(0, 240, 10, dtype=np.uint8), (12, 1))  # 12 x 24, rising to the right
    Image.fromarray(np.stack([ramp] * 3, -1)).save(tmp_path / "ant" / "wide.png")
    with pytest.raises(DataError, match=r"wide.png` must be 8x8 .*; got 12x24. Give `size=`"):
        as_split(tmp_path)
    split = as_split(tmp_path, size=12)
    assert split.input_shape == (3, 12, 12)
    wide = split.inputs[5, 0].numpy()
    assert np.array_equal(wide, ramp[:, 6:18])  # as high as wanted: only cut
    assert as_split(tmp_path, size=(4, 6), in_memory=0).batch()[0].shape == (11, 3, 4, 6)


def test_fingerprints_are_those_of_names_and_bytes(tmp_path):
    write(tmp_path / "a")
    first = as_split(tmp_path / "a", in_memory=0)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    again = as_split(tmp_path / "b", in_memory=0)
    assert first.fingerprint() == again.fingerprint()
    assert as_split(tmp_path / "b", in_memory=0, size=3).fingerprint() != again.fingerprint()
    Image.fromarray(image(55)).save(tmp_path / "b" / "bee" / "4.png")
    changed = as_split(tmp_path / "b", in_memory=0)
    assert changed.fingerprint() != first.fingerprint()


def test_several_threads_decode_the_same_in_the_same_order(tmp_path):
    write(tmp_path / "train", n=9)
    split = as_split(tmp_path / "train", in_memory=0)
    order = torch.tensor([7, 0, 17, 3, 3, 12])
    alone, threads = split.inputs.gather(order), torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        together = split.inputs.gather(order)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(together, alone)


def test_a_damaged_image_is_named(tmp_path):
    write(tmp_path)
    path = tmp_path / "bee" / "3.png"
    content = path.read_bytes()
    path.write_bytes(content[:60])
    with pytest.raises(DataError, match="must be a whole image"):
        as_split(tmp_path)
    path.write_bytes(b"GIF")
    with pytest.raises(DataError, match="must be an image") as error:
        as_split(tmp_path, in_memory=0)
    assert str(path) in str(error.value)


def test_an_image_that_changes_later_is_named(tmp_path):
    write(tmp_path)
    split = as_split(tmp_path, in_memory=0)
    Image.fromarray(image(0, height=9)).save(tmp_path / "bee" / "3.png")
    split.batch(torch.arange(8))
    with pytest.raises(DataError, match=r"3.png` must be 5x7 as it was at the start; got 9x7"):
        split.batch(torch.tensor([8]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "must hold one folder of images a class"),
        (
            lambda folder: write(folder, classes=("ant",)),
            "must have at least two classes",
        ),
        (
            lambda folder: (write(folder), (folder / "cow").mkdir()),
            "cow` must hold images",
        ),
    ],
)
def test_folders_of_another_kind_are_refused(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(DataError, match=message):
        as_split(tmp_path)
