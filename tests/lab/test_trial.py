"""Property: what a trial's id depends on, and pinned ids.

Oracle: the definition in words, worked with the standard library; stored values (drift alarm).
"""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import gengap
from gengap._errors import DataError
from gengap.corruptions import (
    Compose,
    GaussianPixels,
    LabelsFromFile,
    PairFlip,
    RandomLabels,
    TransitionMatrix,
)
from gengap.data import Augmentation, Preprocessing, Split
from gengap.lab import Data, Model, Trial, plain
from gengap.lab._plain import revived
from gengap.training import Cosine, Exponential, Probes, Step

BASE = Trial(
    data=Data.named("digits"),
    model=Model.named("mlp", hidden=(512,)),
    recipe=gengap.Recipe(epochs=5, lr=0.1),
    corruption=RandomLabels(probability=0.4),
    seed=1,
)
PINNED = {
    "5c0258d974543e5f7ff3": BASE,
    "c3a8b6275168f4d868d4": Trial(
        data=Data.named("cifar-10", examples=2000),
        model=Model.named("small_inception", batch_norm=False),
        recipe=gengap.Recipe(schedule=Exponential(every=390), augmentation=None),
    ),
    "c2b9a22504b18ecf6130": Trial(
        data=Data.named("digits"),
        model=Model.named("linear"),
        recipe=gengap.Recipe(optimizer="adam", weight_decay=1e-4, schedule=Cosine()),
        corruption=Compose(corruptions=(PairFlip(probability=0.2), GaussianPixels())),
        seed=7,
    ),
}


def split(value=0):
    inputs = torch.arange(12.0).reshape(6, 2) + value
    return Split(inputs=inputs, targets=torch.tensor([0, 1, 2, 0, 1, 2]), num_classes=3)


def of_numpy(recipe):
    """Return the same recipe in whole numbers of NumPy."""
    whole = {n: v for n, v in vars(recipe).items() if type(v) is int}
    return replace(recipe, **{name: np.int64(value) for name, value in whole.items()})


def test_numbers_of_numpy_give_the_ids_of_pythons():
    one = np.int64(1)
    base = replace(BASE, recipe=replace(BASE.recipe, patience=3, schedule=Exponential(every=390)))
    same = replace(
        base,
        model=Model.named("mlp", hidden=(np.int32(512),)),
        recipe=replace(of_numpy(base.recipe), schedule=Exponential(every=390 * one)),
        seed=one,
    )
    assert same.id == base.id and same.seed.__class__ is int
    assert type(same.recipe.batch_size) is type(same.recipe.patience) is int
    pairs = [
        (Step(milestones=(3 * one,)), Step(milestones=(3,))),
        (Augmentation(padding=one), Augmentation(padding=1)),
        (Preprocessing(crop=(3 * one, one)), Preprocessing(crop=(3, 1))),
        (Preprocessing(crop=3 * one), Preprocessing(crop=3)),
        (Probes(coherence=9 * one, top=one), Probes(coherence=9, top=1)),
    ]
    for ours, wanted in pairs:
        assert repr(ours) == repr(wanted)
    few = Data.named("digits", examples=50 * one).spec
    assert json.dumps(few) == json.dumps(Data.named("digits", examples=50).spec)


class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer = nn.Linear(2, width)

    def forward(self, x):
        return self.layer(x)


@pytest.mark.parametrize("name", PINNED)
def test_ids_of_known_specifications_do_not_drift(name):
    assert PINNED[name].id == name


def test_the_id_is_the_hash_of_the_canonical_specification():
    text = json.dumps(BASE.spec, sort_keys=True, separators=(",", ":"))
    assert BASE.id == hashlib.blake2b(text.encode(), digest_size=10).hexdigest()
    assert json.loads(json.dumps(BASE.spec)) == BASE.spec


def test_equal_specifications_have_equal_ids():
    again = Trial(
        data=Data.named("digits"),
        model=Model.named("mlp", hidden=(512,)),
        recipe=gengap.Recipe(lr=0.1, epochs=5),
        corruption=RandomLabels(probability=0.4),
        seed=1,
    )
    assert again.id == BASE.id


def test_a_field_left_at_its_default_is_as_good_as_said():
    said = replace(BASE, recipe=replace(BASE.recipe, momentum=gengap.Recipe().momentum))
    assert said.id == BASE.id


@pytest.mark.parametrize(
    "change",
    [
        {"data": Data.named("digits", examples=100)},
        {"data": Data.named("mnist")},
        {"model": Model.named("mlp", hidden=(256,))},
        {"model": Model.named("linear")},
        {"recipe": gengap.Recipe(epochs=6, lr=0.1)},
        {"recipe": gengap.Recipe(epochs=5, lr=0.2)},
        {"recipe": gengap.Recipe(epochs=5, lr=0.1, momentum=0.0)},
        {"recipe": gengap.Recipe(epochs=5, lr=0.1, weight_decay=1e-3)},
        {"recipe": gengap.Recipe(epochs=5, lr=0.1, schedule=Cosine())},
        {"recipe": gengap.Recipe(epochs=5, lr=0.1, augmentation=Augmentation(flip=True))},
        {"corruption": None},
        {"corruption": RandomLabels(probability=0.5)},
        {"corruption": PairFlip(probability=0.4)},
        {"seed": 2},
    ],
    ids=str,
)
def test_any_field_changes_the_id(change):
    assert replace(BASE, **change).id != BASE.id


def test_a_data_set_in_use_is_in_memory_once():
    for more in ({}, {"examples": 100}):
        first, second = (Data.named("digits", **more) for _ in range(2))
        assert first.load()[0].inputs.data_ptr() == second.load()[0].inputs.data_ptr()
    with pytest.raises(ValueError, match="`examples`"):
        Data.named("digits", examples=100.0)


def test_data_in_memory_is_identified_by_its_content():
    ids = [
        replace(BASE, data=data).id
        for data in (
            Data.of(split(), split()),
            Data.of(split(), split()),
            Data.of(split(1), split()),
            Data.of(split(), split(1)),
            Data.of(split(), None),
        )
    ]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 4


def test_data_in_memory_is_identified_by_what_is_known_of_its_labels():
    plain_one, right = split(), torch.tensor([0, 1, 2, 0, 1, 1])
    marked = replace(plain_one, changed=torch.arange(6) == 0)
    splits = [plain_one, plain_one.with_true_targets(right), marked]
    splits.append(replace(plain_one, true_targets=right))
    assert len({Data.of(one, None).spec["train"] for one in splits}) == 4
    same = plain_one.with_true_targets(plain_one.targets.clone())
    assert Data.of(same, None).spec == Data.of(plain_one, None).spec
    assert plain_one.fingerprint() == "5d9d7efcf2f7068f3cc699e0edf79211"  # as before


def test_labels_from_a_file_are_identified_by_the_file_and_what_it_holds(tmp_path):
    def made(labels, name="a.npy"):
        np.save(tmp_path / name, np.array(labels))
        return LabelsFromFile(path=str(tmp_path / name))

    def identity(corruption):
        return replace(BASE, corruption=corruption).id

    first = [0, 1, 2]
    ids = [identity(made(labels)) for labels in (first, [0, 1, 1], first)]
    assert ids[0] == ids[2] != ids[1]
    assert identity(made(np.array(first, np.uint8))) == identity(made(np.array([0.0, 1, 2])))
    assert identity(made(first, "b.npy")) != ids[0]
    composed = [identity(Compose(corruptions=(made(one),))) for one in (first, [2, 1, 0])]
    assert composed[0] != composed[1]
    one = replace(BASE, corruption=made(first))
    assert one.sibling(json.loads(json.dumps(one.spec))).id == one.id
    nowhere = replace(BASE, corruption=LabelsFromFile(path=str(tmp_path / "none.npy")))
    assert "files" not in nowhere.spec and "files" not in BASE.spec


def test_halves_whose_classes_have_other_names_are_refused():
    train = replace(split(), class_names=("a", "b", "c"))
    Data.of(train, replace(split(1), class_names=("a", "b", "c")))
    Data.of(train, split(1))
    for names, said in (
        (("b", "c", "d"), "'a' for train and 'b' for test as class 0"),
        (("a", "c", "b"), "'b' for train and 'c' for test as class 1"),
    ):
        with pytest.raises(DataError, match=f"same classes in the same order .* got {said}"):
            Data.of(train, replace(split(1), class_names=names))
    fewer = replace(split(1)[[0, 1, 3, 4]], num_classes=2, class_names=("a", "b"))
    with pytest.raises(DataError, match="got 3 classes for train and 2 for test"):
        Data.of(train, fewer)


@pytest.mark.parametrize("halves", [("train", "test"), ("train", "train"), ("test", "train")])
def test_the_first_split_is_the_train_half_and_the_second_the_test_half(halves):
    first, second = (replace(split(value), half=h) for value, h in enumerate(halves))
    redrawn = RandomLabels(probability=1.0)
    one = replace(BASE, data=Data.of(first, second), corruption=redrawn)
    train, test = one.splits()
    assert (train.half, test.half) == ("train", "test")
    assert train.targets.equal(redrawn(split(), seed=1).targets)
    assert train.changed.any() and not test.changed.any()
    usual = replace(one, data=Data.of(split(), replace(split(1), half="test")))
    assert (one.id == usual.id) == (halves == ("train", "test"))  # older results are not taken


@pytest.mark.global_rng("torch")
def test_a_builder_is_identified_by_the_architecture_that_it_makes():
    def build(width):
        return Model.of(lambda: nn.Sequential(nn.Linear(2, width), nn.ReLU()), name="net")

    assert build(3).spec == build(3).spec
    assert build(3).spec != build(4).spec
    tanh = Model.of(lambda: nn.Sequential(nn.Linear(2, 3), nn.Tanh()), name="net")
    assert tanh.spec != build(3).spec


def test_a_builder_is_identified_by_the_source_of_its_classes(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    specs = []
    for name, body in (("first", "x"), ("second", "x * 2")):
        (tmp_path / f"lab_{name}.py").write_text(
            "from torch import nn\n\n\nclass Own(nn.Module):\n"
            f"    def forward(self, x):\n        return {body}\n"
        )
        module = __import__(f"lab_{name}")
        specs.append(Model.of(module.Own, name="own").spec)
    assert specs[0] != specs[1]
    assert Model.of(lambda: Net(3), name="n").spec == Model.of(lambda: Net(3), name="n").spec


def test_a_subset_is_drawn_once_and_keeps_the_order():
    train, test = Data.of(split(), split(1), examples=4).load()
    again, _ = Data.of(split(), split(1), examples=4).load()
    assert len(train) == 4
    assert torch.equal(train.inputs, again.inputs)
    assert (train.inputs[1:, 0] > train.inputs[:-1, 0]).all()
    assert len(test) == 6


@pytest.mark.parametrize(
    "value",
    [
        RandomLabels(probability=0.4),
        Compose(corruptions=(PairFlip(probability=0.2), GaussianPixels())),
        TransitionMatrix(matrix=((0.9, 0.1), (0.0, 1.0))),
        LabelsFromFile(path="labels.npy"),
        gengap.Recipe(
            lr=0.3, schedule=Step(milestones=(3, 4)), augmentation=Augmentation(flip=True)
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_plain_data_comes_back_as_it_was(value):
    assert revived(json.loads(json.dumps(plain(value)))) == value


@pytest.mark.parametrize("value", [{"kind": "Path"}, {"kind": "os.system", "x": 1}])
def test_a_stored_specification_may_name_only_known_kinds(value):
    with pytest.raises(ValueError, match="must name one of"):
        revived(value)


def test_a_specification_takes_plain_data_only():
    with pytest.raises(TypeError, match="must be plain data; got Tensor"):
        plain({"x": torch.zeros(2)})


def test_a_sibling_shares_data_and_model():
    other = replace(BASE, corruption=PairFlip(probability=0.1), seed=5)
    assert BASE.sibling(other.spec).id == other.id


def test_an_unknown_model_or_option_is_one_sentence():
    with pytest.raises(ValueError, match="`model` must be one of"):
        Model.named("transformer")
    with pytest.raises(ValueError, match=r"must be among hidden, dropout, .*; got 'depth'"):
        Model.named("mlp", depth=3)


@pytest.mark.parametrize("given", [nn.Linear(2, 3), None, 3])
def test_a_network_in_place_of_its_builder_is_refused(given):
    with pytest.raises(TypeError, match="`model` must be a function that builds the network"):
        Model.of(given)
