"""Twin: every lane against the same run alone, whatever sets it apart from the others."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from gengap.data import Augmentation, Preprocessing
from gengap.training import Lane, Packing, Recipe, fit, fit_lanes, make_trainer
from gengap.training._program import LanesUnavailable
from tests.reference.plain_training import train_plainly
from tests.training.cases import (
    convolutional,
    make_images,
    make_split,
    normed,
    perceptron,
    tanh_network,
    weights,
)

TOGETHER = Packing(64, 1, "a test")
RECIPE = Recipe(epochs=5, batch_size=12, lr=0.05)


def alone(build, lane, recipe, test=None):
    """The same run by `fit`, the lane's hyper-parameters in its recipe."""
    own = {
        name: getattr(lane, name)
        for name in ("lr", "momentum", "weight_decay")
        if getattr(lane, name) is not None
    }
    recipe = replace(recipe, **own)
    return fit(build, lane.split, test=lane.test or test, recipe=recipe, seed=lane.seed)


def assert_same(run, twin, tolerance=5e-5):
    assert (run.status, run.reason, run.seed) == (twin.status, twin.reason, twin.seed)
    torch.testing.assert_close(
        weights(run.model), weights(twin.model), rtol=tolerance, atol=tolerance
    )
    assert len(run.rows) == len(twin.rows)
    for row, expected in zip(run.rows, twin.rows, strict=True):
        assert row.keys() == expected.keys()
        for name in row.keys() - {"seconds"}:
            close = pytest.approx(expected[name], rel=1e-3, abs=1e-4, nan_ok=True)
            assert row[name] == close, name


def noisy(split, seed):
    """Labels of every third example moved on by one."""
    changed = torch.arange(len(split)) % 3 == seed % 3
    targets = torch.where(changed, (split.targets + 1) % split.num_classes, split.targets)
    return replace(split, targets=targets, changed=changed)


@pytest.mark.parametrize("build", [perceptron, tanh_network, normed])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
def test_lanes_equal_the_run_alone(build, optimizer):
    split = make_split()
    recipe = replace(RECIPE, optimizer=optimizer, lr=0.02, eps=1e-3, weight_decay=0.01)
    lanes = [
        Lane(split=split, seed=1),
        Lane(split=noisy(split, 1), seed=2, lr=0.01),
        Lane(split=make_split(seed=5), seed=1, momentum=0.5),
        Lane(split=split, test=make_split(n=9, seed=8), seed=3, weight_decay=0.2),
    ]
    test = make_split(n=17, half="test")
    runs = fit_lanes(build, lanes, test=test, recipe=recipe, packing=TOGETHER)
    for lane, run in zip(lanes, runs, strict=True):
        assert_same(run, alone(build, lane, recipe, test))


def test_a_lane_equals_the_obvious_loop():
    split = make_split()
    lanes = [Lane(split=split, seed=s, lr=0.02 * (s + 1)) for s in range(3)]
    for run, lane in zip(
        fit_lanes(normed, lanes, recipe=RECIPE, packing=TOGETHER), lanes, strict=True
    ):
        twin = train_plainly(normed, split, recipe=RECIPE, seed=lane.seed, lr=lane.lr)
        torch.testing.assert_close(weights(run.model), weights(twin.model), rtol=5e-5, atol=5e-5)


@pytest.mark.parametrize("build", [perceptron, normed])
def test_dropout_of_a_lane_is_that_of_the_run_alone(build):
    recipe = replace(RECIPE, dropout=0.4)
    lanes = [Lane(split=make_split(), seed=s) for s in range(3)]
    runs = fit_lanes(build, lanes, recipe=recipe, packing=TOGETHER)
    for lane, run in zip(lanes, runs, strict=True):
        assert_same(run, alone(build, lane, recipe))
    without = fit(build, make_split(), recipe=replace(recipe, dropout=0.0))
    assert not torch.equal(weights(runs[0].model), weights(without.model))


def test_a_convolutional_network_with_everything():
    preprocessing = Preprocessing(scale=255.0, crop=6, standardize="image")
    split = make_images(side=8, preprocessing=preprocessing)
    recipe = replace(
        RECIPE,
        dropout=0.3,
        augmentation=Augmentation(padding=1, random_crop=True, flip=True, rotation=10.0),
        label_smoothing=0.1,
    )
    other = make_images(side=8, seed=4, preprocessing=preprocessing)
    lanes = [Lane(split=split, seed=0), Lane(split=noisy(split, 0), seed=1, lr=0.02)]
    lanes += [Lane(split=other, seed=2)]
    trainer, _ = make_trainer(convolutional, lanes, recipe=recipe, device=torch.device("cpu"))
    trainer.run(lambda outcome: None)  # as a stack: raises if that cannot be
    runs = fit_lanes(convolutional, lanes, recipe=recipe, packing=TOGETHER)
    for lane, run in zip(lanes, runs, strict=True):
        assert_same(run, alone(convolutional, lane, recipe), tolerance=2e-4)
    counted = next(m for m in runs[0].model if isinstance(m, torch.nn.BatchNorm2d))
    assert counted.num_batches_tracked == runs[0].steps


def test_left_out_examples_and_different_sizes():
    split = make_split(n=40)
    keep = [torch.arange(40) != i for i in (3, 8)] + [torch.arange(40) < 25]
    lanes = [Lane(split=split[mask], seed=i) for i, mask in enumerate(keep)]
    runs = fit_lanes(perceptron, lanes, test=split, recipe=RECIPE, packing=TOGETHER)
    assert [run.steps for run in runs] == [20, 20, 15]
    for lane, run in zip(lanes, runs, strict=True):
        assert_same(run, alone(perceptron, lane, RECIPE, split))


@pytest.mark.parametrize("build", [perceptron, normed])
def test_finished_lanes_leave_and_the_others_go_on(build):
    recipe = replace(RECIPE, epochs=30, stop_at_accuracy=0.7)
    lanes = [Lane(split=make_split(n=30, seed=s), seed=s, lr=0.004 * 3**s) for s in range(5)]
    active = []
    runs = fit_lanes(
        build,
        lanes,
        recipe=recipe,
        packing=TOGETHER,
        on_epoch=lambda trainer: active.append(len(trainer.active)),
    )
    assert active == sorted(active, reverse=True)
    assert len(set(active)) > 2
    for lane, run in zip(lanes, runs, strict=True):
        assert_same(run, alone(build, lane, recipe), tolerance=1e-3)


@pytest.mark.parametrize("build", [perceptron, normed])
def test_a_diverged_lane_leaves_the_others_alone(build):
    lanes = [Lane(split=make_split(), seed=s, lr=lr) for s, lr in enumerate((0.05, 1e30, 0.02))]
    runs = fit_lanes(build, lanes, recipe=RECIPE, packing=TOGETHER)
    assert [run.status for run in runs] == ["stopped", "diverged", "stopped"]
    for lane, run in zip(lanes, runs, strict=True):
        if run.status != "diverged":
            assert_same(run, alone(build, lane, RECIPE))


def test_early_stopping_of_lanes():
    recipe = replace(RECIPE, epochs=40, early_stopping=3, held_out=0.3)
    lanes = [Lane(split=noisy(make_split(), s), seed=s) for s in range(4)]
    runs = fit_lanes(perceptron, lanes, recipe=recipe, packing=TOGETHER)
    assert len({run.epochs for run in runs}) > 1
    for lane, run in zip(lanes, runs, strict=True):
        assert_same(run, alone(perceptron, lane, recipe), tolerance=1e-3)


class Careless(torch.nn.Module):
    """Draws from the global generator as it goes."""

    def __init__(self):
        super().__init__()
        self.out = torch.nn.Linear(6, 3)

    def forward(self, x):
        return self.out(F.dropout(x, 0.3, self.training))


class Restless(Careless):
    """Draws in evaluation mode too."""

    def forward(self, x):
        return self.out(x + 0.1 * torch.randn_like(x))


@pytest.mark.parametrize("build", [Careless, Restless])
def test_what_cannot_be_stacked_is_trained_one_by_one(build):
    lanes = [Lane(split=make_split(), seed=s) for s in range(2)]
    trainer, _ = make_trainer(build, lanes, recipe=RECIPE, device=torch.device("cpu"))
    with pytest.raises(LanesUnavailable):
        trainer.run(lambda outcome: None)
    runs = fit_lanes(build, lanes, recipe=RECIPE, packing=TOGETHER)
    again = fit_lanes(build, lanes, recipe=RECIPE, packing=TOGETHER)
    for lane, run, twin in zip(lanes, runs, again, strict=True):
        single = alone(build, lane, RECIPE)
        for other in (twin, single):
            assert torch.equal(weights(run.model), weights(other.model))
            assert run.rows[-1]["train_loss"] == other.rows[-1]["train_loss"]


@pytest.mark.parametrize("packing", [Packing(1, 1, ""), Packing(1, 2, ""), Packing(2, 2, "")])
@pytest.mark.parametrize("build", [perceptron, normed])
def test_every_packing_gives_the_same_runs_in_order(build, packing):
    lanes = [Lane(split=make_split(seed=s), seed=s) for s in range(3)]
    test = make_split(n=9, half="test")
    runs = fit_lanes(build, lanes, test=test, recipe=RECIPE, packing=packing)
    for lane, run in zip(lanes, runs, strict=True):
        assert_same(run, alone(build, lane, RECIPE, test))
        assert not run.model.training


def test_no_lanes_no_runs():
    assert fit_lanes(perceptron, []) == []


@pytest.mark.gpu
def test_lanes_on_a_gpu_equal_the_run_alone():
    recipe = replace(RECIPE, dropout=0.3)
    for build in (perceptron, normed):
        lanes = [Lane(split=make_split(), seed=s) for s in range(3)]
        runs = fit_lanes(build, lanes, recipe=recipe, device="cuda", packing=TOGETHER)
        for lane, run in zip(lanes, runs, strict=True):
            twin = fit(build, lane.split, recipe=recipe, seed=lane.seed, device="cpu")
            assert_same(run, twin, tolerance=1e-3)
