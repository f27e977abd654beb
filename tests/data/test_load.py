"""Published values: checksums and moments of the official files; scikit-learn's digits."""

import shutil
import sys

import numpy as np
import pytest
import torch

from gengap._errors import DataError
from gengap.data import DataFile, load, names, verify
from gengap.data._checksum import problem_with, read_checked

MOMENTS = {
    "mnist": ([0.1307], [0.3081]),
    "fashion-mnist": ([0.2860], [0.3530]),
    "cifar-10": ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
}
HELLO = "5d41402abc4b2a76b9719d911017c592"  # md5sum of "hello"
PINNED = ["97635140da83a4fdd604812e1ef531b8", "8ad45054bd460c1be0ab12e5472eac62"]


def test_digits_are_those_of_scikit_learn_each_once():
    from sklearn.datasets import load_digits

    train, test = load("digits")
    ours = torch.cat([train.inputs, test.inputs]).flatten(1).numpy()
    theirs = load_digits()
    labels = torch.cat([train.targets, test.targets]).tolist()
    mine = {(*row, y) for row, y in zip(ours.tolist(), labels, strict=True)}
    rows = theirs.data.astype(int).tolist()
    assert mine == {(*row, y) for row, y in zip(rows, theirs.target.tolist(), strict=True)}
    assert len(train) == 1437 and len(test) == 360


def test_digits_halves_have_the_classes_in_proportion():
    train, test = load("digits")
    share = torch.bincount(test.targets) / (
        torch.bincount(test.targets) + torch.bincount(train.targets)
    )
    assert (share - 360 / 1797).abs().max() < 0.005
    assert (train.half, test.half) == ("train", "test")
    assert train.class_names == tuple("0123456789")


def test_digits_are_whitened_by_the_moments_of_the_train_half():
    train, _ = load("digits")
    pixels = train.inputs.double() / 16
    assert train.preprocessing.mean == (round(float(pixels.mean()), 4),)
    assert train.preprocessing.std == (round(float(pixels.std(correction=0)), 4),)
    assert train.inputs.dtype == torch.uint8 and int(train.inputs.max()) == 16


def test_digits_are_the_same_in_every_process():
    """Pinned: a trial's identity hangs on it."""
    assert [split.fingerprint() for split in load("digits")] == PINNED


def test_missing_data_say_what_to_run(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"Run: gengap data get cifar-10$"):
        load("cifar-10", root=tmp_path)
    monkeypatch.setenv("GENGAP_DATA", str(tmp_path / "a"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    with pytest.raises(DataError, match=r"Run: gengap data get mnist$") as error:
        load("mnist")
    assert str(tmp_path / "a") in str(error.value)
    if sys.platform == "linux":
        assert str(tmp_path / "b" / "gengap") in str(error.value)


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match=r"'fashion-mnist', 'cifar-10'; got 'imagenet'\.$"):
        load("imagenet")


def test_every_built_in_says_whom_to_cite_and_adds_up():
    assert list(names()) == ["digits", "mnist", "fashion-mnist", "cifar-10"]
    for entry in names().values():
        assert entry.description and entry.licence and entry.citation
        assert len(entry.class_names) == len(set(entry.class_names)) == 10
        assert all(len(file.md5) == 32 for file in entry.files)
        assert bool(entry.files) == bool(entry.mirrors) == bool(entry.download_bytes)


def test_verify_reports_missing_files_as_rows(tmp_path):
    rows = verify("mnist", root=tmp_path)
    assert len(rows) == 4 and not any(row.ok for row in rows)
    assert rows[0].detail == "is missing"
    assert [row.ok for row in verify("digits")] == [True]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"hello", ""),
        (b"hell", "must have 5 bytes; got 4"),
        (b"hello!", "must have 5 bytes; got 6"),
        (b"hellO", f"must have the MD5 {HELLO}; got "),
    ],
)
def test_a_file_is_checked_by_size_and_md5(tmp_path, content, problem):
    path, file = tmp_path / "a.bin", DataFile(name="a.bin", num_bytes=5, md5=HELLO)
    path.write_bytes(content)
    assert problem_with(path, file).startswith(problem) and bool(problem_with(path, file)) == bool(
        problem
    )
    if not problem:
        assert read_checked(path, file, name="toy") == content
        return
    with pytest.raises(DataError, match=f"{problem}.*Delete it and run: gengap data get toy$"):
        read_checked(path, file, name="toy")


@pytest.mark.data
@pytest.mark.parametrize("name", MOMENTS)
def test_official_files_verify_and_have_the_published_moments(name, data_root):
    assert all(row.ok and row.detail == "ok" for row in verify(name, root=data_root))
    train, test = load(name, root=data_root)
    n = 50_000 if name == "cifar-10" else 60_000
    assert (len(train), len(test)) == (n, 10_000)
    assert (
        train.inputs.dtype == torch.uint8 and tuple(train.inputs.shape[1:]) == names()[name].shape
    )
    assert torch.equal(torch.bincount(test.targets), torch.full((10,), 1000)) or name == "mnist"
    pixels = train.inputs.numpy()
    mean, std = MOMENTS[name]
    for channel, (m, s) in enumerate(zip(mean, std, strict=True)):
        counts = np.bincount(pixels[:, channel].ravel(), minlength=256)
        values = np.arange(256) / 255
        found = counts @ values / counts.sum()
        assert abs(found - m) < 6e-5
        assert abs((counts @ (values - found) ** 2 / counts.sum()) ** 0.5 - s) < 6e-5


@pytest.mark.data
def test_default_preprocessing_whitens(data_root):
    train, _ = load("mnist", root=data_root)
    x, _ = train.batch()
    assert abs(float(x.mean())) < 1e-3 and abs(float(x.std()) - 1) < 1e-3
    train, test = load("cifar-10", root=data_root)
    assert train.input_shape == (3, 28, 28)
    x, _ = test.batch(torch.arange(50))
    flat = x.flatten(1).double()
    assert flat.mean(1).abs().max() < 1e-5
    assert (flat.std(1, correction=0) - 1).abs().max() < 1e-5
    assert test.class_names[int(test.targets[0])] == "cat"


@pytest.fixture
def copy(tmp_path, data_root):
    shutil.copytree(data_root / "mnist", tmp_path / "mnist")
    return tmp_path


@pytest.mark.data
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b[:-5], r"must have 28881 bytes; got 28876"),
        (lambda b: b + b"!", r"must have 28881 bytes; got 28882"),
        (
            lambda b: b[:9000] + bytes([b[9000] ^ 1]) + b[9001:],
            r"must have the MD5 d53e105e.*; got",
        ),
        (lambda b: None, r"must exist; it does not"),
    ],
)
def test_a_damaged_official_file_is_named(copy, change, message):
    path = copy / "mnist" / "train-labels-idx1-ubyte.gz"
    content = change(path.read_bytes())
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        load("mnist", root=copy)
    assert str(path) in str(error.value) and "gengap data get mnist" in str(error.value)
    assert [row.ok for row in verify("mnist", root=copy)] == [True, False, True, True]
