"""Common suite: what every corruption promises, over one table of cases."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from gengap import corruptions
from gengap._streams import example_stream
from gengap.corruptions import (
    AddedNoise,
    Compose,
    Corruption,
    GaussianPixels,
    LabelsFromFile,
    PairFlip,
    RandomLabels,
    RandomPixels,
    ShuffledPixels,
    SymmetricNoise,
    TransitionMatrix,
)
from gengap.data import Preprocessing, Source, Split

N, C = 40, 3
MATRIX = ((0.5, 0.5, 0.0), (0.1, 0.6, 0.3), (0.2, 0.2, 0.6))
LABELS = [
    RandomLabels(probability=0.7),
    RandomLabels(probability=0.7, test_labels=True),
    SymmetricNoise(probability=0.7),
    SymmetricNoise(probability=0.7, test_labels=True),
    PairFlip(probability=0.7),
    PairFlip(probability=0.7, test_labels=True),
    TransitionMatrix(matrix=MATRIX),
    TransitionMatrix(matrix=MATRIX, test_labels=True),
]
PIXELS = [
    ShuffledPixels(),
    ShuffledPixels(channels_together=False),
    ShuffledPixels(when="after"),
    RandomPixels(),
    RandomPixels(channels_together=False),
    RandomPixels(when="after"),
    GaussianPixels(),
    GaussianPixels(statistics="channel"),
    GaussianPixels(when="after"),
    AddedNoise(scale=0.3),
    AddedNoise(scale=0.3, when="after"),
]
COMPOSED = [
    Compose(corruptions=(RandomLabels(probability=0.5), RandomLabels(probability=0.5))),
    Compose(corruptions=(ShuffledPixels(), AddedNoise(scale=0.1), PairFlip(probability=0.5))),
    Compose(corruptions=(RandomPixels(when="after"), GaussianPixels())),
]
DRAWN = [*LABELS, *PIXELS, *COMPOSED]
SHAPES = {"images": (2, 6, 5), "features": (7,), "gray": (6, 5)}


class Streamed(Source):
    """A source over a tensor."""

    def __init__(self, tensor):
        self.tensor, self.shape, self.dtype = tensor, tuple(tensor.shape), tensor.dtype

    def gather(self, indices):
        return self.tensor[indices]

    def fingerprint(self):
        return "streamed"


def make_split(shape=(2, 6, 5), *, n=N, half="train", stored=torch.uint8, streamed=False, **kw):
    rng = np.random.default_rng(5)
    inputs = torch.from_numpy(rng.integers(0, 256, (n, *shape), dtype=np.uint8)).to(stored)
    targets = torch.from_numpy(rng.integers(0, C, n))
    crop = 4 if len(shape) == 3 else None
    kw.setdefault("preprocessing", Preprocessing(scale=255.0, crop=crop, standardize="image"))
    return Split(
        inputs=Streamed(inputs) if streamed else inputs,
        targets=targets,
        num_classes=C,
        half=half,
        **kw,
    )


@pytest.fixture
def from_file(tmp_path):
    np.save(tmp_path / "labels.npy", np.arange(N) % C)
    return LabelsFromFile(path=str(tmp_path / "labels.npy"))


@pytest.fixture(params=[*DRAWN, None], ids=lambda c: repr(c) if c else "LabelsFromFile")
def corruption(request, from_file):
    return request.param or from_file


def same(a: Split, b: Split) -> bool:
    index = torch.arange(len(a))
    return (
        torch.equal(a.gather(index), b.gather(index))
        and torch.equal(a.targets, b.targets)
        and torch.equal(a.changed, b.changed)
        and torch.equal(a.true_targets, b.true_targets)
        and a.preprocessing == b.preprocessing
    )


def test_every_public_corruption_has_a_case(from_file):
    public = {
        value
        for value in vars(corruptions).values()
        if isinstance(value, type) and issubclass(value, Corruption) and value is not Corruption
    }
    assert {type(case) for case in [*DRAWN, from_file]} == public


def test_is_a_frozen_keyword_only_final_dataclass(corruption):
    assert dataclasses.is_dataclass(corruption)
    assert all(field.kw_only for field in dataclasses.fields(corruption))
    assert type(corruption).__mro__[1] is Corruption
    assert hash(corruption) == hash(dataclasses.replace(corruption))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(corruption, dataclasses.fields(corruption)[0].name, None)


def test_repr_round_trips(corruption):
    assert eval(repr(corruption)) == corruption


def test_fields_are_plain_data(corruption):
    plain = dataclasses.asdict(corruption)
    assert json.loads(json.dumps(plain)) == json.loads(json.dumps(plain, allow_nan=False))


def test_leaves_the_argument_alone(corruption):
    split, untouched = make_split(), make_split()
    corruption(split, seed=1)
    assert same(split, untouched)


def test_leaves_the_global_generators_alone(corruption):
    before, before_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    corruption(make_split(), seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], before_numpy)  # noqa: NPY002


def test_same_seed_same_bits(corruption):
    first = corruption(make_split(), seed=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        assert same(first, corruption(make_split(), seed=1))
    assert first.fingerprint() == corruption(make_split(), seed=1).fingerprint()


@pytest.mark.parametrize("case", DRAWN, ids=repr)
def test_another_seed_differs(case):
    split = make_split()
    assert not same(case(split, seed=1), case(split, seed=2))


def test_records_what_it_changed_and_keeps_the_truth(corruption):
    split = make_split()
    result = corruption(split, seed=1)
    assert torch.equal(result.true_targets, split.targets)
    assert result.changed.dtype == torch.bool
    relabelled = result.targets != split.targets
    assert not (relabelled & ~result.changed).any()
    assert result.changed.any()


def test_changed_accumulates(corruption):
    marked = dataclasses.replace(make_split(), changed=torch.arange(N) < 7)
    assert corruption(marked, seed=1).changed[:7].all()


def test_keeps_everything_else(corruption):
    split = make_split(name="toy", class_names=("a", "b", "c"))
    result = corruption(split, seed=1)
    for name in ("half", "name", "class_names", "num_classes", "input_shape"):
        assert getattr(result, name) == getattr(split, name)
    assert result.targets.dtype == torch.int64
    x, _ = result.batch()
    assert x.shape == (N, *split.input_shape)
    assert x.dtype == torch.float32
    assert x.isfinite().all()


@pytest.mark.parametrize("case", LABELS, ids=repr)
def test_labels_of_a_test_half_change_only_if_asked(case):
    split = make_split(half="test")
    result = case(split, seed=1)
    assert same(result, split) != case.test_labels
    assert torch.equal(result.inputs, split.inputs)


@pytest.mark.parametrize("case", [c for c in LABELS if c.test_labels], ids=repr)
def test_halves_have_their_own_draws_of_labels(case):
    train, test = (case(make_split(n=400, half=half), seed=1) for half in ("train", "test"))
    assert not torch.equal(train.changed, test.changed)


@pytest.mark.parametrize("case", PIXELS, ids=repr)
def test_pixels_of_a_test_half_change_too(case):
    assert case(make_split(half="test"), seed=1).changed.all()


@pytest.mark.parametrize("case", PIXELS, ids=repr)
def test_halves_share_a_permutation_and_nothing_else(case):
    train, test = (case(make_split(half=half), seed=1).inputs for half in ("train", "test"))
    assert torch.equal(train, test) == isinstance(case, ShuffledPixels)


@pytest.mark.parametrize("case", LABELS, ids=repr)
def test_real_targets_are_refused(case):
    split = Split(inputs=torch.zeros(4, 2), targets=torch.zeros(4, 1))
    with pytest.raises(ValueError, match=r"needs class labels; got real-valued targets"):
        case(split, seed=0)


@pytest.mark.parametrize("case", PIXELS, ids=repr)
def test_pixels_with_real_targets_are_fine(case):
    split = Split(inputs=torch.rand(4, 2, generator=torch.Generator()), targets=torch.zeros(4, 1))
    assert case(split, seed=0).changed.all()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("case", [*PIXELS, *COMPOSED], ids=repr)
def test_streamed_equals_in_memory(case, shape):
    memory, stream = (case(make_split(shape, streamed=s), seed=1) for s in (False, True))
    assert same(memory, stream)
    assert isinstance(stream.inputs, Source) or isinstance(case.corruptions[0], RandomLabels)
    assert tuple(stream.inputs.shape) == tuple(memory.inputs.shape)
    assert stream.inputs.dtype == memory.inputs.dtype
    order = torch.tensor([9, 3, 3, 38, 0])
    assert torch.equal(memory.batch(order)[0], stream.batch(order)[0])
    assert torch.equal(memory[order].batch()[0], stream[order].batch()[0])


@pytest.mark.parametrize("case", [*PIXELS, *COMPOSED[1:]], ids=repr)
def test_fingerprints_of_streamed_splits_tell_seeds_and_corruptions_apart(case):
    split = make_split(streamed=True)
    prints = [c(split, seed=s).fingerprint() for c in (case, ShuffledPixels()) for s in (1, 2)]
    prints.append(case(make_split(streamed=True), seed=1).fingerprint())
    assert prints[0] == prints[-1]
    assert len(set(prints[:-1])) == (2 if case == ShuffledPixels() else 4)


@pytest.mark.parametrize("case", PIXELS, ids=repr)
def test_dtype_is_kept_where_the_values_are(case):
    shuffles = isinstance(case, (ShuffledPixels, RandomPixels))
    stored = case(make_split(), seed=1).inputs.dtype
    assert stored == (torch.uint8 if shuffles and case.when == "before" else torch.float32)
    assert case(make_split(stored=torch.float64), seed=1).inputs.dtype == torch.float64


@pytest.mark.parametrize("case", PIXELS, ids=repr)
def test_an_example_changes_the_same_whichever_others_are_there(case, monkeypatch):
    """Twin: the whole split in one portion, in portions of 7, and one index at a time."""
    whole = case(make_split(), seed=1).inputs
    one_by_one = case(make_split(streamed=True), seed=1).inputs
    for index in (0, 17, N - 1):
        assert torch.equal(one_by_one.gather(torch.tensor([index]))[0], whole[index])
    monkeypatch.setattr("gengap.corruptions._new_pixels._CHUNK", 7)
    tolerance = {"rtol": 1e-6, "atol": 1e-6} if isinstance(case, GaussianPixels) else None
    torch.testing.assert_close(
        case(make_split(), seed=1).inputs, whole, **(tolerance or {"rtol": 0, "atol": 0})
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_device_is_kept_and_results_do_not_depend_on_it(corruption):
    here, there = corruption(make_split(), seed=1), corruption(make_split().to("cuda"), seed=1)
    assert there.device.type == there.targets.device.type == there.changed.device.type == "cuda"
    assert torch.equal(there.targets.cpu(), here.targets)
    torch.testing.assert_close(there.inputs.cpu(), here.inputs, rtol=1e-5, atol=1e-5)


def test_example_streams_are_those_of_the_ground():
    """The permutation of example 3 is the one of its own named stream."""
    split = make_split(preprocessing=Preprocessing())
    order = np.arange(30)
    example_stream(1, "random pixels train", 3).shuffle(order)
    expected = split.inputs[3].flatten(1)[:, torch.from_numpy(order)].view(2, 6, 5)
    assert torch.equal(RandomPixels()(split, seed=1).inputs[3], expected)
