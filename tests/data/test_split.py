"""Property: choosing, batching and moving examples against plain indexing; hashes against bytes."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from gengap.data import Preprocessing, Source, Split, SubsetSource, load


class Counting(Source):
    """Stored examples in memory, fetched like files."""

    def __init__(self, tensor):
        self.tensor, self.shape, self.dtype = tensor, tuple(tensor.shape), tensor.dtype

    def gather(self, indices):
        return self.tensor[indices]

    def fingerprint(self):
        return "counting"


INPUTS = torch.arange(40, dtype=torch.uint8).view(10, 1, 2, 2)
TARGETS = torch.arange(10) % 3


def split(inputs=INPUTS, **fields):
    fields = {
        "targets": TARGETS,
        "num_classes": 3,
        "preprocessing": Preprocessing(scale=2.0),
    } | fields
    return Split(inputs=inputs, **fields)


INDICES = [
    slice(2, 5), slice(None, None, 3), slice(8, 2, -2), slice(-3, None), [4, 4, 0], 7, -1,
    np.int64(3), np.array([9, -1]), torch.tensor([5, 1]), [i % 2 == 0 for i in range(10)],
    np.arange(10) > 6, TARGETS == 1,
]  # fmt: skip


@pytest.mark.parametrize("inputs", [INPUTS, Counting(INPUTS)], ids=["memory", "streamed"])
@pytest.mark.parametrize("index", INDICES, ids=str)
def test_choosing_examples_equals_numpy_indexing(inputs, index):
    chosen = replace(split(inputs), changed=TARGETS == 2)[index]
    pick = np.atleast_1d(np.arange(10)[np.asarray(index) if isinstance(index, list) else index])
    assert torch.equal(chosen.gather(torch.arange(len(pick))), INPUTS[pick.tolist()])
    assert chosen.targets.tolist() == TARGETS.numpy()[pick].tolist()
    assert chosen.true_targets.tolist() == chosen.targets.tolist()
    assert chosen.changed.tolist() == (TARGETS.numpy()[pick] == 2).tolist()


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        ([], ValueError, "must hold at least one example; got none"),
        (torch.zeros(10, dtype=torch.bool), ValueError, "at least one example"),
        (torch.zeros(9, dtype=torch.bool), ValueError, r"must have shape \(10,\); got \(9,\)"),
        ([0.5], ValueError, "must be whole numbers in one row"),
        ([[1, 2]], ValueError, "must be whole numbers in one row"),
        ([10], IndexError, "out of range|out of bounds"),
    ],
)
def test_wrong_indices_are_refused(index, error, message):
    with pytest.raises(error, match=message):
        split()[index]


def test_a_slice_is_a_view_and_a_choice_a_copy():
    whole = split()
    assert whole[2:8].inputs.data_ptr() == INPUTS[2:].data_ptr()
    assert whole[[0, 1]].inputs.data_ptr() != INPUTS.data_ptr()


def test_batches_are_scaled_and_cover_everything_in_order():
    parts = list(split().batches(4))
    assert [len(x) for x, _ in parts] == [4, 4, 2]
    torch.testing.assert_close(torch.cat([x for x, _ in parts]), INPUTS.float() / 2)
    assert torch.equal(torch.cat([y for _, y in parts]), TARGETS)


def test_streamed_batches_equal_those_in_memory():
    indices = torch.tensor([7, 0, 7, 3])
    x, y = split(Counting(INPUTS)).batch(indices)
    expected, labels = split().batch(indices)
    assert torch.equal(x, expected) and torch.equal(y, labels)
    nested = split(Counting(INPUTS))[3:][[4, 0]]
    assert isinstance(nested.inputs, SubsetSource)
    assert torch.equal(nested.batch()[0], INPUTS[[7, 3]].float() / 2)


def test_moving_to_a_device_keeps_everything():
    moved = split().to("cpu")
    assert moved.fingerprint() == split().fingerprint()
    assert moved.device.type == moved.changed.device.type == "cpu"


@pytest.mark.gpu
def test_a_split_on_a_gpu_gives_the_same_batches():
    moved = split().to("cuda")
    x, y = moved.batch(torch.tensor([3, 1]))
    assert x.device.type == y.device.type == "cuda"
    assert torch.equal(x.cpu(), split().batch(torch.tensor([3, 1]))[0])
    assert moved[[1, 2]].device.type == "cuda"


def test_equal_splits_have_equal_fingerprints_and_others_do_not():
    same = split(INPUTS.clone(), targets=TARGETS.clone(), name="another name").fingerprint()
    assert same == split().fingerprint() == split().fingerprint()
    pixel, label = INPUTS.clone(), TARGETS.clone()
    pixel[9, 0, 1, 1] += 1
    label[9] = 1
    others = [
        split(pixel),
        split(targets=label),
        split(num_classes=4),
        split(INPUTS.float()),
        split(INPUTS.view(10, 1, 4, 1)),
        split(preprocessing=Preprocessing(scale=3.0)),
        split(Counting(INPUTS)),
        split(Counting(INPUTS))[torch.arange(10).flip(0)],
        split(Counting(INPUTS), targets=TARGETS * 0)[:5],
        split(Counting(INPUTS), targets=TARGETS * 0)[5:],
        split()[1:],
    ]
    assert len({same, *(other.fingerprint() for other in others)}) == 1 + len(others)


def test_a_number_of_classes_of_numpy_gives_the_same_fingerprint():
    same = split(num_classes=np.int64(3))
    assert type(same.num_classes) is int
    assert same.fingerprint() == split().fingerprint()


def test_the_fingerprint_of_a_view_is_that_of_its_copy():
    view = split()[:5]
    assert view.fingerprint() == replace(view, inputs=view.inputs.clone()).fingerprint()
    turned = split(INPUTS.transpose(2, 3))
    assert turned.fingerprint() == split(INPUTS.transpose(2, 3).contiguous()).fingerprint()


@pytest.mark.data
def test_the_fingerprint_of_cifar_takes_under_a_second(data_root):
    train, _ = load("cifar-10", root=data_root)
    times = []
    for _ in range(3):
        start = time.process_time()
        train.fingerprint()
        times.append(time.process_time() - start)
    assert min(times) < 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"inputs": INPUTS[:0], "targets": TARGETS[:0]},
            "must hold at least one example; got none",
        ),
        ({"targets": TARGETS[:9]}, "got 10 examples and 9 targets"),
        ({"targets": TARGETS.float()}, "must be class indices, int64"),
        ({"num_classes": 2}, r"must lie in 0..1 for 2 classes; got 2"),
        ({"targets": TARGETS - 1}, "must lie in 0..2 for 3 classes; got -1"),
        ({"half": "val"}, "`half` must be one of 'train', 'test'; got 'val'"),
    ],
)
def test_what_does_not_belong_together_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        split(**fields)


def test_batches_in_order_are_the_callers_to_change():
    split = Split(inputs=torch.arange(10.0).view(5, 2), targets=torch.zeros(5, 1))
    for x, _ in split.batches(2):
        x.zero_()
    assert torch.equal(split.inputs, torch.arange(10.0).view(5, 2))
    together = torch.cat([x for x, _ in split.batches(2)])
    assert torch.equal(together, split.batch()[0])


def test_grey_images_have_the_strides_of_a_new_tensor():
    """NumPy's, of an axis of length one, made convolutions answer with the channels last."""
    images = np.zeros((6, 8, 8), np.float32)[:, None][np.array([0, 2, 4, 5])]
    split = Split(inputs=torch.from_numpy(images), targets=torch.zeros(4, dtype=torch.int64))
    for x in (split.inputs, split[:2].inputs, split.batch()[0], next(split.batches(3))[0]):
        assert x.stride() == (64, 64, 8, 1)
        torch.conv2d(x, torch.ones(4, 1, 3, 3)).view(len(x), -1)
    last = torch.zeros(4, 3, 8, 8).to(memory_format=torch.channels_last)
    kept = Split(inputs=last, targets=torch.zeros(4, dtype=torch.int64)).inputs
    assert kept.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "kind", [list, np.asarray, torch.as_tensor, lambda y: ["abc"[k] for k in y]]
)
def test_labels_known_to_be_wrong_are_marked(kind):
    noisy, right = split(class_names=("a", "b", "c")), TARGETS.clone()
    right[[2, 7]] = 0
    found = noisy.with_true_targets(kind(right.tolist()))
    assert torch.equal(found.true_targets, right) and torch.equal(found.targets, TARGETS)
    assert found.changed.nonzero().flatten().tolist() == [2, 7]
    assert not noisy.changed.any()
    assert found[5:].changed.tolist() == [False, False, True, False, False]


@pytest.mark.parametrize(
    ("right", "message"),
    [
        ([0] * 9, r"one class an example of 10; got shape \(9,\)"),
        ([0.5] * 10, r"one class an example of 10; got shape \(10,\) of float64"),
        ([3] * 10, r"must lie in 0\.\.2; got 3 to 3"),
        ([-1] * 10, r"must lie in 0\.\.2; got -1 to -1"),
        (["d"] * 10, "must be classes of `data`; got 'd'"),
    ],
)
def test_classes_that_are_none_are_refused(right, message):
    with pytest.raises(ValueError, match=message):
        split(class_names=("a", "b", "c")).with_true_targets(right)
