"""Twin: the readers against files written here by struct, one byte at a time. Oracle: the bytes."""

import gzip
import struct

import numpy as np
import pytest

from gengap._errors import DataError
from gengap.data._cifar import read_cifar_batch
from gengap.data._idx import read_idx


def idx_bytes(array, magic=None, sizes=None):
    sizes = array.shape if sizes is None else sizes
    head = magic or struct.pack(">HBB", 0, 8, len(sizes))
    return head + b"".join(struct.pack(">I", s) for s in sizes) + array.tobytes()


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)


def written(path, content):
    path.write_bytes(content)
    return path


def test_idx_gives_the_bytes_in_order(tmp_path, images):
    path = written(tmp_path / "a.gz", gzip.compress(idx_bytes(images)))
    got = read_idx(path, shape=(5, 4, 3))
    assert got.dtype == np.uint8 and np.array_equal(got, images)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: gzip.compress(b[:-1]), "must hold 60 bytes after its header; got only 59"),
        (lambda b: gzip.compress(b + b"\0"), "must hold 60 bytes after its header; got more"),
        (lambda b: gzip.compress(b[:10]), r"must have the sizes \(5, 4, 3\); got \(5,\)"),
        (lambda b: gzip.compress(b""), "magic number 00000803; got an empty file"),
        (lambda b: gzip.compress(b"\0\0\x0d\x03" + b[4:]), "magic number 00000803; got 00000d03"),
        (lambda b: gzip.compress(b)[:-9], "must be a whole gzip file"),
        (lambda b: b, "must be a whole gzip file"),
        (lambda b: b"", "must hold 60 bytes when unpacked; got a file of 0 bytes"),
    ],
)
def test_idx_refuses_a_wrong_file_and_names_it(tmp_path, images, change, message):
    path = written(tmp_path / "a.gz", change(idx_bytes(images)))
    with pytest.raises(DataError, match=message) as error:
        read_idx(path, shape=(5, 4, 3))
    assert str(path) in str(error.value)


def test_idx_refuses_a_huge_header_before_reading_on(tmp_path, images):
    huge = idx_bytes(images, sizes=(2**31, 2**15, 3))
    path = written(tmp_path / "a.gz", gzip.compress(huge))
    with pytest.raises(DataError, match=r"got \(2147483648, 32768, 3\)"):
        read_idx(path, shape=(5, 4, 3))


def test_idx_refuses_a_shape_that_the_file_cannot_hold_before_allocating(tmp_path, images):
    path = written(tmp_path / "a.gz", gzip.compress(idx_bytes(images)))
    with pytest.raises(DataError, match="which cannot"):
        read_idx(path, shape=(2**20, 2**10, 2**10))


def test_a_flipped_byte_is_found_by_gzip(tmp_path, images):
    content = bytearray(gzip.compress(idx_bytes(images), compresslevel=0))
    content[60] ^= 1
    with pytest.raises(DataError, match="must be a whole gzip file"):
        read_idx(written(tmp_path / "a.gz", bytes(content)), shape=(5, 4, 3))


@pytest.fixture
def rows():
    rng = np.random.default_rng(1)
    return [(int(rng.integers(10)), rng.integers(0, 256, 3072, dtype=np.uint8)) for _ in range(4)]


def cifar_bytes(rows):
    return b"".join(bytes([label]) + planes.tobytes() for label, planes in rows)


def test_cifar_gives_planes_red_green_blue_row_by_row(tmp_path, rows):
    path = written(tmp_path / "b.bin", cifar_bytes(rows))
    images, labels = read_cifar_batch(path, num_examples=4)
    assert images.shape == (4, 3, 32, 32)
    for image, label, (expected, planes) in zip(images, labels, rows, strict=True):
        assert label == expected
        for channel, row, column in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 2, 3), (2, 31, 31)]:
            assert image[channel, row, column] == planes[1024 * channel + 32 * row + column]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b[:-1], r"must have 12292 bytes \(4 rows of 3073\); got 12291"),
        (lambda b: b + b"\0", "must have 12292 bytes .*; got 12293"),
        (lambda b: b"", "got 0"),
        (lambda b: b[:3073] + b"\x0a" + b[3074:], r"must hold labels 0..9; got 10 in row 1"),
    ],
)
def test_cifar_refuses_a_wrong_file_and_names_it(tmp_path, rows, change, message):
    path = written(tmp_path / "b.bin", change(cifar_bytes(rows)))
    with pytest.raises(DataError, match=message) as error:
        read_cifar_batch(path, num_examples=4)
    assert str(path) in str(error.value)
