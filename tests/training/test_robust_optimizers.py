"""Twin: `fit` with the robust optimizers against hand-written loops, and lanes against single runs.

Winsorized and trimmed runs are compared with `vmap(grad)` and NumPy's percentiles in float64.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

import gengap
from gengap._streams import streams
from gengap.lab import Data, Model, Trial, plain
from gengap.lab._plain import revived
from gengap.training import Lane, Packing, Recipe, fit, fit_lanes
from tests.reference.plain_training import OF_THREE, seeded, train_plainly
from tests.training.cases import (
    make_split,
    normed,
    perceptron,
    tanh_network,
    weights,
)

RECIPE = Recipe(epochs=4, batch_size=9, lr=0.05)
ROBUST = {"winsorized_sgd": "winsorized", "trimmed_mean_sgd": "trimmed"}
TOGETHER = Packing(64, 1, "a test")


def close(model, twin, tolerance=5e-5):
    torch.testing.assert_close(weights(model), weights(twin), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("build", [perceptron, tanh_network, normed])
@pytest.mark.parametrize("optimizer", OF_THREE)
def test_three_gradients_are_combined_as_in_a_plain_loop(build, optimizer):
    recipe = replace(RECIPE, optimizer=optimizer, weight_decay=0.01)
    run = fit(build, make_split(), recipe=recipe, seed=3)
    twin = train_plainly(build, make_split(), recipe=recipe, seed=3)
    close(run.model, twin.model)
    assert run.rows[-1]["train_loss"] == pytest.approx(twin.history[-1]["train_loss"], rel=1e-4)


def robust_loop(build, split, recipe, seed):
    """Every example's gradient at once, NumPy's percentiles, a plain step; in float64."""
    model = seeded(build, seed).double().train()
    params = {k: v.detach() for k, v in model.named_parameters()}

    def loss(p, x, y):
        return F.cross_entropy(functional_call(model, p, (x[None],)), y[None])

    for epoch in range(recipe.epochs):
        order = torch.randperm(len(split), generator=streams(seed)("batches", epoch))
        for indices in order.split(recipe.batch_size):
            x, y = split.batch(indices)
            grads = vmap(grad(loss), in_dims=(None, 0, 0))(params, x.double(), y)
            for name, p in params.items():
                rows = grads[name].numpy()
                c = recipe.clip_percent
                low, high = np.percentile(rows, [c, 100 - c], axis=0, method="nearest")
                if recipe.optimizer == "winsorized_sgd":
                    mean = np.clip(rows, low, high).mean(0)
                else:
                    ends = np.percentile(np.arange(len(rows)), [c, 100 - c], method="nearest")
                    mean = np.sort(rows, axis=0)[int(ends[0]) : int(ends[1]) + 1].mean(0)
                p -= recipe.lr * (torch.as_tensor(mean) + recipe.weight_decay * p)
    model.load_state_dict(params)
    return model


@pytest.mark.parametrize("build", [perceptron, tanh_network])
@pytest.mark.parametrize("optimizer", ROBUST)
@pytest.mark.parametrize("percent", [0.0, 12.0, 40.0])
def test_robust_means_are_those_of_all_examples_gradients(build, optimizer, percent):
    recipe = replace(RECIPE, optimizer=optimizer, clip_percent=percent, weight_decay=0.01)
    run = fit(build, make_split(), recipe=recipe, seed=1)
    close(run.model, robust_loop(build, make_split(), recipe, seed=1))


class Placed(nn.Module):
    """Six steps with a table of their positions, whose input has no axis of examples."""

    def __init__(self):
        super().__init__()
        self.steps, self.places, self.head = nn.Linear(1, 4), nn.Embedding(6, 4), nn.Linear(4, 3)

    def forward(self, x):
        places = self.places(torch.arange(x.shape[1]))
        return self.head((self.steps(x[:, :, None]) + places).tanh().mean(1))


def test_as_many_positions_as_examples_are_not_taken_for_them():
    recipe = replace(RECIPE, optimizer="winsorized_sgd", clip_percent=25.0, batch_size=6)
    run = fit(Placed, make_split(), recipe=recipe, seed=1)
    close(run.model, robust_loop(Placed, make_split(), recipe, seed=1))


class Views(nn.Module):
    """Both halves of the inputs in one pass, one after the other."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(3, 8), nn.Linear(8, 3)

    def forward(self, x):
        left, right = self.inner(torch.cat([x[:, :3], x[:, 3:]])).relu().chunk(2)
        return self.head(left * right)


def test_views_folded_into_the_batch_belong_to_their_example():
    recipe = replace(RECIPE, optimizer="winsorized_sgd", clip_percent=25.0)
    run = fit(Views, make_split(), recipe=recipe, seed=1)
    close(run.model, robust_loop(Views, make_split(), recipe, seed=1))


class Borrowed(nn.Module):
    """Uses a layer's weight once more, outside the layer."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.inner(x) @ self.inner.weight)


def test_a_parameter_used_outside_its_layer_is_named():
    recipe = replace(RECIPE, optimizer="winsorized_sgd", batch_size=8, clip_percent=20.0)
    with pytest.raises(ValueError, match=r"the parameter 'inner\.weight', which is in a layer wit"):
        fit(Borrowed, make_split(), recipe=recipe)


@pytest.mark.parametrize("optimizer", ROBUST)
def test_a_percent_that_reaches_no_example_is_refused(optimizer):
    recipe = replace(RECIPE, optimizer=optimizer, batch_size=8, clip_percent=7.0)
    with pytest.raises(ValueError, match=r"got 7 for 8 examples.*more than 7\.143, or 0"):
        fit(perceptron, make_split(), recipe=recipe)
    one = replace(RECIPE, optimizer=optimizer, batch_size=1)
    with pytest.raises(ValueError, match=r"got 1 for 1 example,.*Take larger batches"):
        fit(perceptron, make_split(), recipe=one)


def test_no_percent_is_plain_descent():
    recipe = replace(RECIPE, optimizer="winsorized_sgd", clip_percent=0.0)
    plain_recipe = replace(RECIPE, momentum=0.0)
    twin = fit(perceptron, make_split(), recipe=plain_recipe)
    close(fit(perceptron, make_split(), recipe=recipe).model, twin.model)


@pytest.mark.parametrize("build", [perceptron, tanh_network])
@pytest.mark.parametrize("optimizer", [*OF_THREE, *ROBUST])
def test_lanes_equal_the_run_alone(build, optimizer):
    recipe = replace(RECIPE, optimizer=optimizer, clip_percent=15.0)
    lanes = [
        Lane(split=make_split(seed=0), seed=0),
        Lane(split=make_split(seed=1), seed=1, lr=0.02, weight_decay=0.1),
        Lane(split=make_split(seed=1), seed=2, momentum=0.5),
    ]
    runs = fit_lanes(build, lanes, recipe=recipe, packing=TOGETHER)
    for lane, run in zip(lanes, runs, strict=True):
        own = {k: getattr(lane, k) for k in ("lr", "weight_decay", "momentum")}
        own = {k: v for k, v in own.items() if v is not None}
        twin = fit(build, lane.split, recipe=replace(recipe, **own), seed=lane.seed)
        close(run.model, twin.model)


@pytest.mark.global_rng("torch")
def test_a_layer_that_mixes_the_examples_is_named():
    recipe = replace(RECIPE, optimizer="winsorized_sgd", batch_size=8, clip_percent=20.0)
    with pytest.raises(ValueError, match=r"'1\b|'1\.weight'"):
        fit(normed, make_split(), recipe=recipe)


def test_momentum_follows_the_optimizer_unless_it_is_said():
    assert Recipe().momentum == 0.9
    for optimizer in (*OF_THREE, *ROBUST):
        assert Recipe(optimizer=optimizer).momentum == 0.0
        assert replace(Recipe(), optimizer=optimizer).momentum == 0.0
        assert replace(Recipe(optimizer=optimizer), optimizer="sgd").momentum == 0.9
        said = Recipe(optimizer=optimizer, momentum=0.9)
        assert said.momentum == 0.9
        for recipe in (said, Recipe(optimizer=optimizer)):
            assert revived(plain(recipe)) == recipe
    assert plain(Recipe(optimizer="median_of_three")) == {
        "kind": "Recipe",
        "optimizer": "median_of_three",
    }


PINNED = {
    "80fea61232485c6c3ad0": [{}, {"momentum": 0.9}],
    "ede8f092f7cde39a32f4": [{"momentum": 0.0}],
    "ceb19b9167d9b86b90c5": [{"optimizer": "adam", "momentum": 0.5}],
    "ca47bf01bf04b847fc48": [{"optimizer": "adamw"}, {"optimizer": "adamw", "momentum": 0.9}],
}


@pytest.mark.parametrize("name", PINNED)
def test_trials_from_before_these_optimizers_keep_their_ids(name):
    data, model = Data.named("digits"), Model.named("mlp", hidden=(32,))
    for fields in PINNED[name]:
        assert Trial(data=data, model=model, recipe=Recipe(**fields)).id == name


@pytest.mark.parametrize("percent", [-1, 51, float("nan")])
def test_wrong_percents_are_refused(percent):
    with pytest.raises(ValueError, match=r"`clip_percent` must lie in \[0, 50\]"):
        Recipe(clip_percent=percent)


@pytest.mark.global_rng("torch")
def test_a_percentile_that_reaches_no_example_left_to_train_on_is_refused():
    """Of 60 examples half are held out, and 1 % of the 30 in a batch is less than one."""
    recipe = replace(RECIPE, optimizer="winsorized_sgd", clip_percent=2.0, batch_size=60, epochs=1)
    split = make_split(60)
    fit(perceptron(), split, recipe=recipe, seed=0)
    held = replace(recipe, early_stopping=1, held_out=0.5)
    fit(perceptron(), split, recipe=held, seed=0)
    with pytest.raises(ValueError, match=r"`clip_percent`.*30"):
        fit(perceptron(), split, recipe=replace(held, clip_percent=1.7), seed=0)


@pytest.mark.global_rng
def test_it_resists_labels_that_few_share():
    """Two clusters, a tenth of the labels flipped: SGD fits the flips, winsorized SGD does not."""
    draw = streams(0)
    x = torch.randn(100, 30, generator=draw("x"))
    labels = (x[:, 0] > 0).long()
    x[:, 0] += 2 * x[:, 0].sign()
    labels[:10] = 1 - labels[:10]
    split = gengap.Split(inputs=x, targets=labels, num_classes=2)
    recipe = Recipe(epochs=60, batch_size=50, lr=0.3, momentum=0.0, evaluate_every=60)
    fitted = {}
    for optimizer in ("sgd", "winsorized_sgd"):
        robust = replace(recipe, optimizer=optimizer, clip_percent=10.0)
        run = fit(lambda: perceptron(dim=30, hidden=(40,), classes=2), split, recipe=robust)
        fitted[optimizer] = run.rows[-1]["train_accuracy"]
    assert fitted["sgd"] > 0.98
    assert fitted["winsorized_sgd"] < 0.93
