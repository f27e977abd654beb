"""Closed form: files written by hand, read back; damaged ones refused in one sentence."""

import numpy as np
import pytest
import torch

from gengap._errors import DataError
from gengap.corruptions import LabelsFromFile
from gengap.data import Split

NEW = [2, 1, 0, 2, 1]


def make_split(half="train"):
    targets = torch.tensor([0, 1, 2, 2, 0])
    return Split(inputs=torch.zeros(5, 1), targets=targets, num_classes=3, half=half)


def write(folder, name, content):
    path = folder / name
    if name.endswith(".npy"):
        np.save(path, content, allow_pickle=True)
    elif name.endswith(".npz"):
        np.savez(path, **content)
    else:
        path.write_text(content)
    return str(path)


@pytest.mark.parametrize(
    ("name", "content", "key"),
    [
        ("a.npy", np.array(NEW), None),
        ("a.npy", np.array(NEW, dtype=np.uint8), None),
        ("a.npy", np.array(NEW, dtype=np.float32), None),
        ("a.npz", {"only": np.array(NEW)}, None),
        ("a.npz", {"clean": np.zeros(5), "worst": np.array(NEW)}, "worst"),
        ("a.txt", "2\n1\n0\n2\n1\n", None),
        ("a.csv", "2\n1\n0\n2\n1", None),
        ("a.csv", "label\n2\n1\n0\n2\n1\n", None),
        ("a.csv", "file,label\nx,2\ny,1\n\nz,0\nu,2\nv,1\n", "label"),
    ],
)
def test_reads_labels(tmp_path, name, content, key):
    result = LabelsFromFile(path=write(tmp_path, name, content), key=key)(make_split(), seed=0)
    assert result.targets.tolist() == NEW
    assert result.changed.tolist() == [True, False, True, False, True]
    assert result.true_targets.tolist() == [0, 1, 2, 2, 0]


@pytest.mark.parametrize(
    ("name", "content", "key", "message"),
    [
        ("a.npy", np.array([0, 1]), None, r"must hold 5 labels, one for each .*shape \(2,\)"),
        ("a.npy", np.zeros((5, 1)), None, r"must hold 5 labels"),
        ("a.npy", np.array([0, 1, 2, 3, 0]), None, r"must hold labels in 0\.\.2; got 3"),
        ("a.npy", np.array([0, 1, 2, -1, 0]), None, r"must hold labels in 0\.\.2; got -1"),
        ("a.npy", np.array([0, 1, 2, 0.5, 0]), None, r"must hold whole numbers"),
        ("a.npy", np.array([0, 1, np.nan, 0, 0]), None, r"must hold whole numbers"),
        ("a.npy", np.array(list("abcde")), None, r"must hold whole numbers"),
        ("a.npy", np.array([{}] * 5), None, r"cannot be read as labels: Object arrays"),
        ("a.npz", {"x": np.zeros(5), "y": np.zeros(5)}, None, r"holds x, y; `key` must be one"),
        ("a.npz", {"x": np.zeros(5)}, "z", r"holds x; `key` must be one; got 'z'"),
        ("a.csv", "a,b\n1,2\n", None, r"holds a, b; `key` must be one"),
        ("a.csv", "1,2\n1,2\n", None, r"must have one column"),
        ("a.csv", "1\n2\n", "a", r"must start with the names of its columns"),
        ("a.csv", "a,b\n1,2\n1\n", "b", r"must have rows of equal length"),
        ("a.txt", "cat\n", None, r"cannot be read as labels"),
        ("a.txt", "", None, r"must hold 5 labels"),
    ],
)
def test_refuses_what_does_not_fit(tmp_path, name, content, key, message):
    corruption = LabelsFromFile(path=write(tmp_path, name, content), key=key)
    with pytest.raises(DataError, match=message):
        corruption(make_split(), seed=0)


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.csv"])
def test_refuses_missing_and_damaged_files(tmp_path, name):
    corruption = LabelsFromFile(path=str(tmp_path / name))
    with pytest.raises(DataError, match=r"cannot be read as labels"):
        corruption(make_split(), seed=0)
    (tmp_path / name).write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(DataError, match=r"cannot be read as labels"):
        corruption(make_split(), seed=0)


def test_leaves_a_test_half_alone_unless_asked(tmp_path):
    path = write(tmp_path, "a.npy", np.array(NEW))
    split = make_split("test")
    assert LabelsFromFile(path=path)(split, seed=0) is split
    assert LabelsFromFile(path=path, test_labels=True)(split, seed=0).targets.tolist() == NEW


def test_checks_its_arguments(tmp_path):
    assert LabelsFromFile(path=tmp_path / "a.npy").path == str(tmp_path / "a.npy")
    with pytest.raises(ValueError, match=r"`path` must end in one of .npy, .npz, .csv, .txt"):
        LabelsFromFile(path="labels.pt")
    with pytest.raises(ValueError, match=r"`key` goes with .npz and .csv files only"):
        LabelsFromFile(path="labels.npy", key="x")
