"""Property: halves are kept, or made once and for all. Oracle: sets of examples and counts."""

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from gengap._errors import DataError
from gengap.data import Preprocessing, as_split, as_splits
from gengap.data._partition import partition

X = np.arange(100, dtype=np.float32).reshape(50, 2)
Y = np.arange(50) % 5


class Pairs(Dataset):
    def __len__(self):
        return 50

    def __getitem__(self, index):
        return X[index], int(Y[index])


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


DIVIDED = {
    "pairs": lambda tmp: ((X[:30], Y[:30]), (X[30:], Y[30:])),
    "lists": lambda tmp: [[X[:30], Y[:30]], [X[30:], Y[30:]]],
    "four": lambda tmp: (X[:30], Y[:30], X[30:], Y[30:]),
    "mapping": lambda tmp: dict(x_train=X[:30], y_train=Y[:30], x_test=X[30:], y_test=Y[30:]),
    "npz": lambda tmp: saved(
        tmp / "a.npz", x_train=X[:30], y_train=Y[:30], x_test=X[30:], y_test=Y[30:]
    ),
    "npz by name": lambda tmp: str(DIVIDED["npz"](tmp)),
    "two npz": lambda tmp: (
        saved(tmp / "a.npz", x=X[:30], y=Y[:30]), saved(tmp / "b.npz", x=X[30:], y=Y[30:])
    ),
    "datasets": lambda tmp: tuple(
        TensorDataset(torch.from_numpy(X[part]), torch.from_numpy(Y[part]))
        for part in (slice(30), slice(30, None))
    ),
    "splits": lambda tmp: (as_split(X[:30], Y[:30]), as_split(X[30:], Y[30:])),
    "split and arrays": lambda tmp: (as_split(X[:30], Y[:30]), {"x": X[30:], "y": Y[30:]}),
}  # fmt: skip


@pytest.mark.parametrize("kind", DIVIDED)
def test_halves_are_kept(kind, tmp_path):
    train, test = as_splits(DIVIDED[kind](tmp_path))
    assert (
        np.array_equal(train.inputs.numpy(), X[:30]) and train.targets.tolist() == Y[:30].tolist()
    )
    assert np.array_equal(test.inputs.numpy(), X[30:]) and test.targets.tolist() == Y[30:].tolist()
    assert (train.half, test.half) == ("train", "test")
    assert train.num_classes == test.num_classes == 5


@pytest.mark.parametrize("kind", ["four", "mapping", "npz"])
def test_one_half_of_a_divided_source(kind, tmp_path):
    test = as_split(DIVIDED[kind](tmp_path), half="test")
    assert np.array_equal(test.inputs.numpy(), X[30:]) and test.half == "test"


WHOLE = {
    "arrays": lambda tmp: (X, Y),
    "dataset": lambda tmp: Pairs(),
    "npz": lambda tmp: saved(tmp / "a.npz", x=X, y=Y),
    "split": lambda tmp: as_split(X, Y),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_a_whole_is_divided_the_same_way_through_every_door(kind, tmp_path):
    train, test = as_splits(WHOLE[kind](tmp_path))
    expected, _ = as_splits((X, Y))
    assert torch.equal(train.inputs, expected.inputs)
    assert torch.bincount(train.targets).tolist() == [8] * 5
    assert torch.bincount(test.targets).tolist() == [2] * 5
    together = np.concatenate([train.inputs.numpy(), test.inputs.numpy()])
    assert np.array_equal(together[together[:, 0].argsort()], X)
    assert (train.half, test.half) == ("train", "test")


def test_streamed_examples_are_divided_too():
    train, test = as_splits(Pairs(), in_memory=0)
    expected = as_splits((X, Y))
    for half, other in zip((train, test), expected, strict=True):
        assert torch.equal(half.batch()[0], other.batch()[0])
        assert torch.equal(half.targets, other.targets)


def test_share_and_seed_say_how_to_divide():
    train, test = as_splits((X, Y), test_share=0.5, seed=1)
    assert len(train) == len(test) == 25
    other = as_splits((X, Y), test_share=0.5, seed=2)[1]
    assert not torch.equal(test.inputs, other.inputs)


def test_mapped_labels_are_shared_by_the_halves():
    names = np.array(["e", "d", "c", "b", "a"])
    train, test = as_splits(((X[:30], names[Y[:30]]), (X[30:35], names[Y[30:35]][::-1])))
    assert train.class_names == test.class_names == ("a", "b", "c", "d", "e")
    assert test.targets.tolist() == [0, 1, 2, 3, 4]
    train, test = as_splits(((X[:30], Y[:30] * 10), (X[:2], [40, 0])))
    assert test.targets.tolist() == [4, 0]


def test_the_test_half_may_lack_classes_but_not_have_others():
    assert as_splits(((X, Y), (X[:1], [0])))[1].num_classes == 5
    with pytest.raises(DataError, match=r"`data` \(test\) must lie in 0..4 for 5 classes; got 5"):
        as_splits(((X, Y), (X[:2], [0, 5])))
    with pytest.raises(DataError, match=r"known classes '1', '2', .*; got 6 in example 1"):
        as_splits(((X, Y + 1), (X[:2], [1, 6])))
    with pytest.raises(DataError, match=r"`data` \(test\) must be numbers like the classes"):
        as_splits(((X, Y + 1), (X[:2], ["a", "b"])))


def test_moments_are_those_of_the_train_half_only():
    for source in ((X, Y), ((X[:30], Y[:30]), (X[30:] * 100, Y[30:]))):
        train, test = as_splits(source, standardize="dataset")
        assert train.preprocessing == test.preprocessing
        x, _ = train.batch()
        torch.testing.assert_close(x.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
        torch.testing.assert_close(x.std(0, correction=0), torch.ones(2), atol=1e-5, rtol=0)


def test_one_preprocessing_serves_both_halves():
    preprocessing = Preprocessing(scale=7.0)
    train, test = as_splits((X, Y), preprocessing=preprocessing)
    assert train.preprocessing == test.preprocessing == preprocessing


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ((X[:, :1], Y), r"have the shape of an example in common .*; got \(2,\) for .* \(1,\)"),
        ((np.zeros((50, 2), np.uint8), Y), "have the dtype of the inputs in common"),
        (lambda: as_split(X, Y, num_classes=9), "have the number of classes in common"),
    ],
)
def test_halves_that_do_not_fit_are_one_sentence(test, message):
    with pytest.raises(DataError, match=message):
        as_splits(((X, Y), test() if callable(test) else test))


def test_halves_are_those_of_their_places():
    split = as_split(X, Y, half="test")
    for source in (split, (split, split), (split, (X, Y)), ((X, Y), as_split(X, Y))):
        assert [half.half for half in as_splits(source)] == ["train", "test"]


def test_splits_whose_classes_have_other_names_do_not_fit():
    names = np.array(["a", "b", "c", "d", "e", "f"])
    train, test = as_split(X, names[Y]), as_split(X, names[Y + 1], half="test")
    with pytest.raises(DataError, match="got 'a' for train and 'b' for test as class 0"):
        as_splits((train, test))


def test_too_few_examples_to_divide():
    with pytest.raises(DataError, match="must hold at least two examples to be divided; got one"):
        as_splits((X[:1], [0]), num_classes=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a zip", "must be a whole .npz file of plain arrays"),
        (b"", "must be a whole .npz file of plain arrays"),
        (lambda b: b[:-40], "must be a whole .npz file of plain arrays"),
        (lambda b: b[:200] + bytes([b[200] ^ 255]) + b[201:], "whole .npz file of plain arrays"),
    ],
)
def test_a_damaged_npz_is_named(tmp_path, content, message):
    path = saved(tmp_path / "a.npz", x=X, y=Y)
    path.write_bytes(content(path.read_bytes()) if callable(content) else content)
    with pytest.raises(DataError, match=message) as error:
        as_splits(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_objects_in_an_npz_are_not_unpickled(tmp_path):
    path = saved(tmp_path / "a.npz", x=np.array([{"a": 1}, print], dtype=object), y=[0, 1])
    with pytest.raises(DataError, match=r"must be a whole \.npz file of plain"):
        as_splits(path)
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(DataError, match=r"must be an \.npz file or a folder of images"):
        as_splits(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("counts", "num_test"),
    [((10, 10), 5), ((1, 50, 3), 10), ((1, 4), 3), ((1, 1, 1), 2), ((7,), 3), ((99, 1), 33)],
)
def test_a_partition_is_one_and_in_proportion(counts, num_test):
    labels = np.repeat(np.arange(len(counts)), counts)
    train, test = partition(labels, num_test=num_test, seed=0)
    assert sorted([*train, *test]) == list(range(len(labels)))
    assert len(test) == num_test
    for label, count in enumerate(counts):
        taken = int((labels[test] == label).sum())
        assert abs(taken - count * num_test / len(labels)) <= 1
        assert taken < count or sum(counts) - len(counts) < num_test
