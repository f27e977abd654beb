"""Property: a trainer restored at any epoch goes on to the same bits."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, save

from gengap.corruptions import RandomLabels
from gengap.data import Augmentation
from gengap.optim import DARC1
from gengap.training import Cosine, Lane, Probes, Recipe, make_trainer
from tests.training.cases import (
    Centred,
    Viewed,
    convolutional,
    make_images,
    make_split,
    normed,
    perceptron,
)

RECIPE = Recipe(epochs=6, batch_size=12, lr=0.05, schedule=Cosine())
CASES = {
    "sgd": (perceptron, RECIPE),
    "adam": (perceptron, replace(RECIPE, optimizer="adam", lr=0.01)),
    "median of three": (
        perceptron,
        replace(RECIPE, optimizer="median_of_three", batch_size=7, momentum=0.5),
    ),
    "rolling median of three": (normed, replace(RECIPE, optimizer="rolling_median_of_three")),
    "winsorized": (perceptron, replace(RECIPE, optimizer="winsorized_sgd", clip_percent=10)),
    "DARC1": (perceptron, replace(RECIPE, regularizers=(DARC1(strength=0.1),))),
    "dropout": (perceptron, replace(RECIPE, dropout=0.3)),
    "BatchNorm": (normed, replace(RECIPE, optimizer="adamw", lr=0.01, dropout=0.2)),
    "early stopping": (normed, replace(RECIPE, early_stopping=2, held_out=0.3)),
    "early stopping, adam": (
        perceptron,
        replace(RECIPE, early_stopping=2, held_out=0.3, optimizer="adam"),
    ),
    "lanes leave": (perceptron, replace(RECIPE, epochs=20, stop_at_accuracy=0.7)),
    "lanes leave, BatchNorm": (normed, replace(RECIPE, epochs=12, stop_at_accuracy=0.7)),
    "patience": (perceptron, replace(RECIPE, patience=1, lr=1.0, evaluate_every=2)),
}


def lanes_of(count):
    return [Lane(split=make_split(n=30, seed=s), seed=s, lr=0.01 * 4**s) for s in range(count)]


def stored(state):
    """What comes back from disk: tensors in another order, plain data through JSON."""
    tensors, plain = state
    held = {name: tensors[name].detach().contiguous() for name in sorted(tensors)}
    return load(save(held)), json.loads(json.dumps(plain))


def outcomes(trainer, on_epoch=None):
    found = {}
    trainer.run(lambda outcome: found.update({outcome.lane: outcome}), on_epoch)
    return found


def assert_same_bits(found, expected):
    for lane, outcome in found.items():
        twin = expected[lane]
        assert (outcome.status, outcome.reason) == (twin.status, twin.reason)
        assert outcome.values.keys() == twin.values.keys()
        assert all(torch.equal(v, twin.values[n]) for n, v in outcome.values.items())
        without = [
            [{k: repr(v) for k, v in row.items() if k != "seconds"} for row in o.rows]
            for o in (outcome, twin)
        ]
        assert without[0] == without[1]
        assert frames(outcome) == frames(twin)


def frames(outcome):
    """What was probed, to the last bit."""
    found = outcome.probed.frames() if outcome.probed else {}
    return {name: frame.to_csv(float_format="%.17g") for name, frame in found.items()}


def check(build, recipe, lanes, probes=None):
    cpu = torch.device("cpu")

    def fresh():
        return make_trainer(build, lanes, recipe=recipe, device=cpu, probes=probes)[0]

    saved = []
    expected = outcomes(fresh(), lambda t: t.active and saved.append(stored(t.state())))
    assert set(expected) == set(range(len(lanes)))
    for state in saved:
        trainer = fresh()
        trainer.restore(*state)
        found = outcomes(trainer)
        assert set(found) == set(state[1]["active"])
        assert_same_bits(found, expected)
    return saved


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", CASES)
def test_a_restored_trainer_goes_on_to_the_same_bits(name, count):
    saved = check(*CASES[name], lanes_of(count))
    if "leave" in name and count > 1:
        assert len({len(plain["active"]) for _, plain in saved}) > 1


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", ["sgd", "early stopping", "lanes leave, BatchNorm", "patience"])
def test_probes_go_on_to_the_same_bits(name, count):
    probes = Probes(coherence=9, examples=True, null_worlds=3, first_steps=2, growth=1.5, every=2)
    lanes = [replace(lane, split=noisy(lane.split)) for lane in lanes_of(count)]
    saved = check(*CASES[name], lanes, probes)
    names = {"probe/coherence/values", "probe/coherence/null/0", "probe/example/margin"}
    assert names <= saved[0][0].keys()


def noisy(split):
    return RandomLabels(probability=0.5)(split, seed=0)


@pytest.mark.parametrize("build", [convolutional, Viewed])
@pytest.mark.parametrize("count", [1, 2])
def test_convolutional_networks_with_augmentation(count, build):
    split = make_images()
    recipe = replace(RECIPE, epochs=3, dropout=0.3, augmentation=Augmentation(flip=True))
    check(build, recipe, [Lane(split=split, seed=s) for s in range(count)])


def test_a_state_in_memory_is_not_changed_by_the_trainer_restored_from_it():
    build, recipe = CASES["adam"]
    first, second = (
        make_trainer(build, lanes_of(2), recipe=recipe, device=torch.device("cpu"))[0]
        for _ in range(2)
    )
    tensors, plain = first.state()
    before = {name: value.detach().clone() for name, value in tensors.items()}
    second.restore(tensors, plain)
    outcomes(second)
    assert all(torch.equal(before[name], value) for name, value in tensors.items())


def test_a_trainer_restored_without_lanes_has_nothing_to_do():
    trainer, again = (
        make_trainer(perceptron, lanes_of(1), recipe=RECIPE, device=torch.device("cpu"))[0]
        for _ in range(2)
    )
    outcomes(trainer)
    again.restore(*stored(trainer.state()))
    assert outcomes(again) == {}


def test_a_buffer_that_is_replaced_in_every_step():
    assert check(Centred, RECIPE, lanes_of(1))
