"""Property: the same examples through every door give the same split. Oracle: the arrays."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy import sparse
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from gengap._errors import DataError
from gengap.data import Preprocessing, as_split, as_splits

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 5)).astype(np.float32)
Y = np.arange(30) % 3
IMAGES = RNG.integers(0, 256, (30, 6, 4, 3), dtype=np.uint8)  # channels last, not square


class Pairs(Dataset):
    """A map-style dataset without any of the usual attributes."""

    def __init__(self, x, y):
        self.x, self.y, self.fetched = x, y, 0

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        self.fetched += 1
        return self.x[index], self.y[index]


def inputs_of(split):
    return split.gather(torch.arange(len(split)))


DOORS = {
    "arrays": lambda x, y: as_split(x, y),
    "pair": lambda x, y: as_split((x, y)),
    "list pair": lambda x, y: as_split([x, y]),
    "mapping": lambda x, y: as_split({"x": x, "y": y}),
    "bunch": lambda x, y: as_split({"data": x, "target": y}),
    "tensors": lambda x, y: as_split(torch.from_numpy(x), torch.from_numpy(y)),
    "TensorDataset": lambda x, y: as_split(TensorDataset(torch.from_numpy(x), torch.from_numpy(y))),
    "Dataset": lambda x, y: as_split(Pairs(x, y)),
    "Dataset of tensors": lambda x, y: as_split(Pairs(torch.from_numpy(x), torch.from_numpy(y))),
    "streamed": lambda x, y: as_split(Pairs(x, y), in_memory=0),
    "Subset": lambda x, y: as_split(Subset(Pairs(x, y), range(len(x)))),
    "nested lists": lambda x, y: as_split(x.astype(np.float64).tolist(), y.tolist()),
    "float64": lambda x, y: as_split(x.astype(np.float64), y.astype(np.float64)),
    "big-endian": lambda x, y: as_split(x.astype(">f4"), y.astype(">i2")),
    "column of labels": lambda x, y: as_split(x, y[:, None]),
    "small labels": lambda x, y: as_split(x, y.astype(np.uint8)),
    "read-only": lambda x, y: as_split(np.broadcast_to(x, x.shape), y),
    "frame": lambda x, y: as_split(pd.DataFrame(x), pd.Series(y)),
    "nullable frame": lambda x, y: as_split(pd.DataFrame(x).astype({1: "Float64"}), y),
    "backwards": lambda x, y: as_split(x[::-1].copy()[::-1], y),
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door_gives_the_same_examples(door):
    split = DOORS[door](X, Y)
    assert split.inputs.dtype == torch.float32 and split.targets.dtype == torch.int64
    assert np.array_equal(inputs_of(split).numpy(), X)
    assert split.targets.tolist() == Y.tolist()
    assert (split.num_classes, split.class_names, split.half) == (3, None, "train")
    assert split.preprocessing == Preprocessing()


@pytest.mark.parametrize("in_memory", [2**30, 0])
@pytest.mark.parametrize("make", [
    lambda: IMAGES, lambda: torch.from_numpy(IMAGES), lambda: Pairs(IMAGES, Y),
    lambda: TensorDataset(torch.from_numpy(IMAGES), torch.from_numpy(Y)),
    lambda: np.moveaxis(IMAGES, -1, 1),
    lambda: Pairs(torch.from_numpy(IMAGES), torch.from_numpy(Y)),
])  # fmt: skip
def test_bytes_become_images_with_channels_first(make, in_memory):
    source = make()
    source = source if isinstance(source, Dataset) else (source, Y)
    split = as_split(source, in_memory=in_memory)
    assert inputs_of(split).dtype == torch.uint8 and split.input_shape == (3, 6, 4)
    assert np.array_equal(inputs_of(split).numpy(), IMAGES.transpose(0, 3, 1, 2))
    x, _ = split.batch()
    torch.testing.assert_close(x, torch.from_numpy(IMAGES.transpose(0, 3, 1, 2) / np.float32(255)))


@pytest.mark.parametrize(
    ("x", "layout", "shape"),
    [
        (np.zeros((4, 6, 5), np.uint8), "auto", (1, 6, 5)),
        (np.zeros((4, 6, 5), np.float32), "auto", (6, 5)),
        (np.zeros((4, 6, 5, 1), np.float32), "auto", (1, 6, 5)),
        (np.zeros((4, 6, 5, 4), np.uint8), "auto", (4, 6, 5)),
        (np.zeros((4, 3, 5, 3), np.uint8), "auto", (3, 5, 3)),
        (np.zeros((4, 3, 5, 3), np.uint8), "channels_last", (3, 3, 5)),
        (np.zeros((4, 6, 5, 2), np.uint8), "channels_last", (2, 6, 5)),
        (np.zeros((4, 6, 5, 3), np.uint8), "channels_first", (6, 5, 3)),
        (np.zeros((4, 8, 6, 6), np.float32), "auto", (8, 6, 6)),
        (torch.zeros(4, 16, 5, 3), "auto", (16, 5, 3)),
        (torch.zeros(4, 16, 5, 3, dtype=torch.uint8), "auto", (3, 16, 5)),
        (torch.zeros(4, 1, 20, 12), "auto", (1, 20, 12)),
        (torch.zeros(4, 7, dtype=torch.float64), "auto", (7,)),
        (np.zeros((4, 7), bool), "auto", (7,)),
    ],
)
def test_axes_of_ambiguous_shapes(x, layout, shape):
    assert as_split(x, [0, 1, 0, 1], layout=layout).input_shape == shape


@pytest.mark.parametrize(
    ("labels", "codes", "names"),
    [
        (["dog", "cat", "eel", "cat"], [1, 0, 2, 0], ("cat", "dog", "eel")),
        (np.array([b"b", b"a", b"b", b"a"]), [1, 0, 1, 0], ("a", "b")),
        (np.array(["b", "a", "b", "a"], object), [1, 0, 1, 0], ("a", "b")),
        ([7, 3, 3, 20], [1, 0, 0, 2], ("3", "7", "20")),
        ([1, 2, 3, 1], [0, 1, 2, 0], ("1", "2", "3")),
        ([0.0, 1.0, 0.0, 2.0], [0, 1, 0, 2], None),
        ([True, False, True, True], [1, 0, 1, 1], None),
        (torch.tensor([0.0, 1.0, 1.0, 0.0], dtype=torch.bfloat16), [0, 1, 1, 0], None),
    ],
)
def test_labels_become_indices_and_keep_their_names(labels, codes, names):
    split = as_split(X[:4], labels)
    assert split.targets.tolist() == codes
    assert split.class_names == names and split.num_classes == max(codes) + 1


def test_given_classes_make_labels_indices():
    assert as_split(X[:4], [0, 2, 2, 0], num_classes=5).targets.tolist() == [0, 2, 2, 0]
    split = as_split(X[:4], [0, 2, 2, 0], class_names=("a", "b", "c"))
    assert (split.num_classes, split.class_names) == (3, ("a", "b", "c"))
    split = as_split(X[:4], ["b", "a", "b", "b"], class_names=("b", "z", "a"))
    assert split.targets.tolist() == [0, 2, 0, 0] and split.num_classes == 3
    assert as_split(X[:4], [0, 0, 0, 0], num_classes=2).num_classes == 2
    split = as_split(X[:4], ["b", "a", "b", "b"], num_classes=7)
    assert (split.num_classes, split.class_names, split.targets.tolist()) == (7, None, [1, 0, 1, 1])


def test_real_targets_are_columns_and_only_when_asked_for():
    split = as_split(X, Y + 0.5, regression=True)
    assert split.num_classes is None and split.targets.dtype == torch.float32
    assert split.targets[:, 0].tolist() == (Y + 0.5).tolist()
    assert as_split(X, X[:, :2], regression=True).targets.shape == (30, 2)
    train, test = as_splits((X, Y / 7), regression=True)
    assert (len(train), len(test)) == (24, 6)
    with pytest.raises(DataError, match=r"must be finite; got \[nan\] in example 1"):
        as_split(X[:2], [0.0, np.nan], regression=True)


def bad(x=X, y=Y, where=None, value=np.nan):
    x = x.copy()
    if where is not None:
        x[where] = value
    return x, y


LOADER = DataLoader(TensorDataset(torch.zeros(3, 2), torch.zeros(3)))
TABLE = pd.DataFrame({"size": [0.5, 1.5, 2.5], "count": [3, 4, 5], "red": [True, False, True]})


@pytest.mark.parametrize("dtypes", [
    {}, {"size": "Float64"}, {"count": "Int64"}, {"red": "boolean"},
    {"size": "Float32", "count": "Int8", "red": "boolean"}, {"count": bool, "size": bool},
])  # fmt: skip
def test_frames_of_numbers_and_truth_values_are_numbers(dtypes):
    frame = TABLE.astype(dtypes)
    wanted = [[float(value) for value in row] for row in frame.itertuples(index=False)]
    split = as_split(frame, [0, 1, 0])
    assert split.inputs.dtype == torch.float32 and split.inputs.tolist() == wanted


def test_dummies_are_numbers():
    frame = pd.get_dummies(pd.DataFrame({"size": [0.5, 1.5], "kind": ["a", "b"]}))
    assert as_split(frame, [0, 1]).inputs.tolist() == [[0.5, 1.0, 0.0], [1.5, 0.0, 1.0]]


WRONG = [
    (bad(where=(7, 2)), {}, "`inputs` of `data` must be finite; got 1 NaN or infinite value, the "
     "first in example 7"),
    (bad(where=slice(9, 11), value=-np.inf), {}, "got 10 NaN or infinite values, .* example 9"),
    ((X.astype(np.float64) * 1e300, Y), {}, "must be finite"),
    ((X, Y[:29]), {}, "`data` must have one target an example; got 30 examples and 29 targets"),
    ((X[:0], Y[:0]), {}, "`data` must hold at least one example; got none"),
    ((X[:, :0], Y), {}, r"`inputs` of `data` must not be empty; got the shape \(30, 0\)"),
    ((X[:, 0], Y), {}, r"must have 2 to 5 axes, examples first; got the shape \(30,\)"),
    ((np.float32(3), Y), {}, "must have 2 to 5 axes"),
    ((X.astype(object), Y), {}, "`inputs` of `data` must be numbers; got the dtype object"),
    (([[1.0], [1.0, 2.0]], [0, 1]), {}, "`inputs` of `data` must be one array"),
    ((X.astype(str), Y), {}, "must be numbers; got the dtype <U"),
    ((X.astype(complex), Y), {}, "must be numbers; got the dtype complex128"),
    ((torch.zeros(3, 2).to_sparse(), Y[:3]), {}, "must be dense and real"),
    ((X, Y - 1), {}, "`targets` of `data` must be at least 0; got -1 in example 0"),
    ((X, Y), {"num_classes": 2}, r"must lie in 0..1 for 2 classes; got 2 in example 2"),
    ((X, Y + 0.5), {}, "must be whole numbers or strings; got 0.5 in example 0.*regression=True"),
    ((X, np.where(Y == 2, np.nan, Y)), {}, "whole numbers or strings; got nan in example 2"),
    ((X, Y * 0 + 4), {}, "must have at least two classes; got only 4"),
    ((X, Y.astype(object)), {}, "must be numbers or strings; got the dtype object"),
    ((X, np.eye(3)[Y]), {}, r"must be labels of shape \[n\]; got \(30, 3\). For one-hot"),
    ((X, 3), {}, "must be one an example; got a single value"),
    ((X, ["a", "b"] * 15), {"class_names": ("a", "c")}, "classes 'a', 'c'; got 'b' in example 1"),
    ((X, ["a", "b", "c"] * 10), {"num_classes": 2}, "at most `num_classes`=2 .* got 3"),
    ((X, ["a", "b"] * 15), {"regression": True}, "must be real values"),
    ({"a": X, "b": Y}, {}, "`data` must hold arrays named `x` and `y`, or .*; got 'a', 'b'"),
    (X, {}, "must be a pair .*; got a ndarray"),
    ((X, Y, X), {}, "got a tuple of 3"),
    (None, {}, "got a NoneType"),
    ("nowhere.npz", {}, "`nowhere.npz` must exist; it does not"),
    (TensorDataset(torch.zeros(3, 2)), {}, "must hold two tensors, inputs and targets; got 1"),
    (Pairs(X[:0], Y[:0]), {}, "`data` must hold at least one example; got none"),
    (Pairs([X[0], X[0, :3]], [0, 1]), {}, r"all have the shape \(5,\).*; got \(3,\) in example 1"),
    (Pairs(bad(where=(7, 2))[0], Y), {}, "the first in example 7"),
    (LOADER, {}, "`data` must be a Dataset; got a DataLoader. Give its `.dataset`"),
    ((LOADER, LOADER), {}, "must be a Dataset; got a DataLoader. Give its `.dataset`"),
    ((sparse.csr_matrix(X), Y), {}, "must be dense; got a csr_matrix. Give its `.toarray\\(\\)`"),
    ((sparse.coo_array(X), Y), {}, "must be dense; got a coo_array. Give its `.toarray\\(\\)`"),
    ((TABLE.astype({"size": str}), [0, 1, 0]), {}, "must be numbers; got the dtype object"),
    ((TABLE.astype({"count": "Int64"}).replace(4, pd.NA), [0, 1, 0]), {}, "must be finite; got 1 "
     "NaN or infinite value, the first in example 1. Drop or fill them"),
]  # fmt: skip


TOKENS = np.arange(12).reshape(4, 3) % 5


@pytest.mark.parametrize(
    "source",
    [
        (TOKENS, [0, 1, 0, 1]),
        (TOKENS.astype(">i4"), [0, 1, 0, 1]),
        (torch.tensor(TOKENS, dtype=torch.int32), [0, 1, 0, 1]),
        (TOKENS.astype(np.uint8), [0, 1, 0, 1]),
        TensorDataset(torch.tensor(TOKENS), torch.tensor([0, 1, 0, 1])),
        Pairs(TOKENS, [0, 1, 0, 1]),
    ],
    ids=["int64", "big-endian", "int32", "bytes", "tensors", "dataset"],
)
@pytest.mark.parametrize("in_memory", [2**30, 0])
def test_tokens_stay_whole(source, in_memory):
    split = as_split(source, layout="tokens", in_memory=in_memory)
    x, _ = split.batch()
    assert split.tokens
    assert x.dtype == torch.int64
    assert x.tolist() == TOKENS.tolist()


def test_other_whole_numbers_are_floats():
    assert not as_split(TOKENS, [0, 1, 0, 1]).tokens


def test_tokens_are_whole_numbers():
    with pytest.raises(DataError, match=r"must be whole numbers; got the dtype float64"):
        as_split(TOKENS / 2, [0, 1, 0, 1], layout="tokens")


@pytest.mark.parametrize(("source", "options", "message"), WRONG, ids=[w[2][:50] for w in WRONG])
@pytest.mark.parametrize("door", [as_split, as_splits])
def test_wrong_data_are_one_sentence(door, source, options, message):
    with pytest.raises(DataError, match=message) as error:
        door(source, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 1}, "`num_classes` must be a whole number of at least 2; got 1"),
        ({"num_classes": 3, "class_names": ("a",)}, "got 1 names for 3 classes"),
        ({"layout": "nhwc"}, "`layout` must be one of"),
        ({"layout": "tokens", "standardize": "image"}, "`standardize` must be left out for tokens"),
        ({"standardize": "batch"}, "`standardize` must be one of"),
        ({"standardize": "image", "preprocessing": Preprocessing()}, "must be left out where"),
        ({"size": 8}, "`size` is for folders of images; got 8"),
        ({"in_memory": -1}, "`in_memory` must be a whole number"),
    ],
)
def test_wrong_arguments_are_one_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        as_split(X, Y, **options)
    with pytest.raises(ValueError, match="`half` must be one of"):
        as_split(X, Y, half="val")
    with pytest.raises(ValueError, match=r"`test_share` must lie in \(0, 1\); got 1.0"):
        as_splits((X, Y), test_share=1.0)


class Stream(IterableDataset):
    def __iter__(self):
        yield X[0], 0


class Unsized(Dataset):
    def __getitem__(self, index):
        return X[0], 0


class Rows(Pairs):
    def __getitem__(self, index):
        return {"image": self.x[index]}


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Stream(), "must be a map-style dataset; got Stream"),
        (Unsized(), "must have a length; Unsized has none"),
        (Rows(X, Y), r"must give pairs \(input, target\); example 0 is of type dict"),
    ],
)
def test_datasets_of_another_kind_are_refused(dataset, message):
    with pytest.raises(DataError, match=message):
        as_split(dataset)


def test_declared_targets_of_a_stream_are_believed_if_samples_agree():
    x, y = np.tile(X, (20, 1)), np.tile(Y, 20)
    dataset = Pairs(x, y)
    dataset.targets = y.tolist()
    split = as_split(dataset, in_memory=0)
    assert split.targets.tolist() == y.tolist() and dataset.fetched < 200
    dataset.targets = ((y + 1) % 3).tolist()  # what a target_transform would change
    assert as_split(dataset, in_memory=0).targets.tolist() == y.tolist()
    dataset.targets = y.tolist()[:-1]
    assert as_split(dataset, in_memory=0).targets.tolist() == y.tolist()


@pytest.mark.parametrize("in_memory", [2**30, 0])
def test_labels_are_those_that_the_dataset_gives(in_memory):
    """A wrapper that adds noise to labels keeps the true ones in `targets`."""
    x, y = np.tile(X, (20, 1)), np.tile(Y, 20)
    noisy = np.where(np.random.default_rng(1).random(600) < 0.1, 2, y)
    noisy[[0, 300, 599]] = y[[0, 300, 599]]
    dataset = Pairs(x, noisy)
    dataset.targets = y.tolist()
    assert as_split(dataset, in_memory=in_memory).targets.tolist() == noisy.tolist()


def test_a_label_unlike_the_declared_one_is_named_when_it_is_fetched():
    x, y = np.tile(X, (20, 1)), np.tile(Y, 20)
    one = y.copy()
    one[3] = 2
    dataset = Pairs(x, one)
    dataset.targets = y.tolist()
    assert as_split(dataset).targets[3] == 2
    split = as_split(dataset, in_memory=0)
    split.batch(torch.tensor([0, 1, 2]))
    with pytest.raises(
        DataError, match=r"`targets` of `data` must be .* gives; got 0 for 2 in example 3\. Correct"
    ):
        split.batch(torch.tensor([2, 3]))


@pytest.mark.parametrize("in_memory", [2**30, 0])
@pytest.mark.parametrize(
    ("first", "second", "options"),
    [
        (np.uint8, np.float32, {}),
        (np.float32, np.uint8, {}),
        (bool, np.uint8, {}),
        (np.int64, np.float32, {"layout": "tokens"}),
    ],
)
def test_dtypes_that_cannot_be_stored_together_are_refused(first, second, options, in_memory):
    items = [np.ones(3, first), np.ones(3, second) * second(0.8)]
    message = rf"a dtype like {np.dtype(first)}, that of the first; got {np.dtype(second)} in .* 1"
    with pytest.raises(DataError, match=message):
        as_split(Pairs(items, [0, 1]), in_memory=in_memory, **options).batch()


def test_other_dtypes_are_stored_together():
    items = [[1, 2], [0.5, 2.5], np.array([3, 4], np.float64), torch.tensor([5.0, 6.0])]
    split = as_split(Pairs(items, [0, 1, 0, 1]))
    assert split.inputs.tolist() == [[1, 2], [0.5, 2.5], [3, 4], [5, 6]]


COLOURS = np.random.default_rng(2).integers(0, 256, (6, 3, 5, 3), dtype=np.uint8)
GREYS = COLOURS[..., 0]
PICTURES = {
    "grey": ([Image.fromarray(x) for x in GREYS], GREYS[:, None] / 255),
    "colour": ([Image.fromarray(x) for x in COLOURS], COLOURS.transpose(0, 3, 1, 2) / 255),
    "palette": ([Image.fromarray(x).convert("P") for x in GREYS], np.stack([GREYS] * 3, 1) / 255),
    "masks": ([Image.fromarray(x > 99) for x in GREYS], (GREYS > 99)[:, None]),
    "16 bits": (
        [Image.fromarray(x.astype(np.uint16) * 257) for x in GREYS],
        GREYS[:, None] / 255,
    ),
    "floats": ([Image.fromarray(x.astype(np.float32)) for x in GREYS], GREYS[:, None]),
    "transparent": (
        [Image.fromarray(np.concatenate([x, x[..., :1]], -1)) for x in COLOURS],
        COLOURS.transpose(0, 3, 1, 2)[:, [0, 1, 2, 0]] / 255,
    ),
}


@pytest.mark.parametrize("in_memory", [2**30, 0])
@pytest.mark.parametrize("kind", PICTURES)
def test_pictures_of_a_dataset_are_read_as_those_of_a_folder(kind, in_memory):
    pictures, wanted = PICTURES[kind]
    for source in (Pairs(pictures, [0, 1] * 3), (pictures, ["a", "b"] * 3)):
        split = as_split(source, in_memory=in_memory)
        np.testing.assert_allclose(split.batch()[0], wanted, rtol=1e-6)
        assert split.targets.tolist() == [0, 1] * 3


def test_pictures_of_unknown_range_are_refused():
    picture = Image.fromarray(GREYS[0].astype(np.int32))
    with pytest.raises(DataError, match="An image of `data` must hold 8-bit or 16-bit numbers"):
        as_split(Pairs([picture] * 2, [0, 1]))


def test_classes_of_a_dataset_are_its_class_names():
    dataset = Pairs(X, Y)
    dataset.classes = ["a", "b", "c", "d"]
    split = as_split(dataset)
    assert split.num_classes == 4 and split.class_names == ("a", "b", "c", "d")


def test_a_streamed_dataset_is_checked_when_it_is_fetched():
    x, y = bad(where=(7, 2))
    split = as_split(Pairs(x, y), in_memory=0)
    split.batch(torch.arange(7))
    with pytest.raises(DataError, match="the first in example 7"):
        split.batch(torch.tensor([9, 7]))


def test_streamed_fingerprints_are_those_of_the_content():
    first, same = (as_split(Pairs(X, Y), in_memory=0) for _ in range(2))
    other = as_split(Pairs(X + 1, Y), in_memory=0)
    assert first.fingerprint() == same.fingerprint() != other.fingerprint()
    assert first.inputs.gather(torch.zeros(0, dtype=torch.int64)).shape == (0, 5)


def test_a_split_is_returned_as_it_is_but_checked():
    split = as_split(X, Y, name="mine")
    assert as_split(split) is split
    broken = replace(split, inputs=torch.from_numpy(bad(where=(7, 2))[0]))
    with pytest.raises(DataError, match="must be finite"):
        as_splits(broken)


def test_standardization_takes_the_moments_of_every_feature():
    x = np.concatenate([X * [1, 2, 3, 4, 5] + 1000, np.ones((30, 1))], 1)
    split = as_split(x, Y, standardize="dataset")
    got = split.batch()[0].double().numpy()
    np.testing.assert_allclose(got[:, :5].mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(got[:, :5].std(0), 1, rtol=1e-3)
    np.testing.assert_allclose(got[:, 5], 0, atol=1e-6)  # never varies: only centred
    images = as_split(IMAGES, Y, standardize="dataset").preprocessing
    np.testing.assert_allclose(images.mean, (IMAGES / 255).mean((0, 1, 2)), rtol=1e-9)
    np.testing.assert_allclose(images.std, (IMAGES / 255).std((0, 1, 2)), rtol=1e-9)
    streamed = as_split(Pairs(IMAGES, Y), standardize="dataset", in_memory=0).preprocessing
    assert streamed == images


def test_moments_merge_over_chunks(monkeypatch):
    from gengap.data import _standardization as standardization

    monkeypatch.setattr(standardization, "_CHUNK", 7 * 5)
    mean, variance = standardization.moments(torch.from_numpy(X + 50))
    np.testing.assert_allclose(mean, (X + 50).astype(np.float64).mean(0), rtol=1e-12)
    np.testing.assert_allclose(variance, (X + 50).astype(np.float64).var(0), rtol=1e-9)
