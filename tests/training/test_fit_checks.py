"""Property: what does not fit is one sentence with the thing, the rule and what came."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from gengap.data import Augmentation, Split
from gengap.training import Cosine, Recipe, fit
from tests.training.cases import (
    make_images,
    make_real,
    make_split,
    normed,
    perceptron,
    tanh_network,
    weights,
)

SPLIT = make_split()


def spoiled(split, row, value):
    inputs = split.inputs.clone()
    inputs[row, 0] = value
    return replace(split, inputs=inputs)


class Frozen(torch.nn.Module):
    def forward(self, x):
        return x[:, :3]


REAL = make_real(width=1)
CASES = {
    "outputs": (lambda: perceptron(classes=4), SPLIT, {}, r"must give 3 outputs .*\(2, 4\)"),
    "input shape": (lambda: perceptron(dim=5), SPLIT, {}, r"must take examples of shape \(6,\)"),
    "whole numbers for floats": (
        lambda: nn.Sequential(nn.Embedding(5, 2), nn.Flatten()),
        replace(SPLIT, inputs=torch.ones(len(SPLIT), 6)), {}, "take examples.* It takes whole num",
    ),
    "floats for whole numbers": (
        perceptron, replace(SPLIT, inputs=torch.ones(len(SPLIT), 6, dtype=torch.int64)), {},
        "take examples.* It takes floats",
    ),
    "test shape": (
        perceptron, SPLIT, {"test": make_split(shape=(5,))}, r"shape \(5,\) of the test split"
    ),
    "NaN": (perceptron, spoiled(SPLIT, 33, float("nan")), {}, "finite numbers; got NaN"),
    "infinity": (perceptron, spoiled(SPLIT, 33, float("-inf")), {}, "finite numbers; got"),
    "loss, classes": (
        perceptron, SPLIT, {"recipe": Recipe(loss="squared_error")}, "classes; got 'squared_error'"
    ),
    "loss, real": (perceptron, REAL, {}, "are real values; got 'cross_entropy'"),
    "flat real targets": (
        lambda: perceptron(5, (4,), 1),
        Split(inputs=REAL.inputs, targets=REAL.targets[:, 0]),
        {"recipe": Recipe(loss="squared_error")},
        r"shape \[n, k\]; got \(30,\)",
    ),
    "no parameters": (Frozen, SPLIT, {}, "must have parameters to train; got none"),
    "no dropout layer": (
        tanh_network, SPLIT, {"recipe": Recipe(dropout=0.5)}, "`dropout` must be None .*; got 0.5"
    ),
    "held out nothing": (
        perceptron, SPLIT,
        {"recipe": Recipe(early_stopping=2, held_out=0.001)}, "both sides; got 0.001 of 40",
    ),
    "held out all, clipped": (
        perceptron, SPLIT,
        {"recipe": Recipe(early_stopping=2, held_out=1.0, optimizer="winsorized_sgd")},
        "both sides; got 1.0 of 40",
    ),
    "last batch": (
        normed, SPLIT, {"recipe": Recipe(batch_size=13)}, "`batch_size` must .*; got 13 for 40"
    ),
    "clipped, BatchNorm": (
        normed, SPLIT,
        {"recipe": Recipe(batch_size=10, optimizer="winsorized_sgd", clip_percent=20)},
        r"`optimizer` must not be 'winsorized_sgd' with BatchNorm \(layer '1'\)",
    ),
    "augmented table": (
        perceptron, SPLIT, {"recipe": Recipe(augmentation=Augmentation(flip=True))},
        r"needs images .*; got examples of shape \(6,\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_does_not_fit_is_one_sentence(name):
    build, split, fields, words = CASES[name]
    with pytest.raises(ValueError, match=re.compile(words)) as error:
        fit(build, split, **fields)
    assert str(error.value).endswith(".")
    assert "\n" not in str(error.value)


def test_batches_of_one_are_fine_without_batch_norm():
    run = fit(perceptron, SPLIT, recipe=Recipe(epochs=1, batch_size=13))
    assert run.steps == 4


def test_counts_of_numpy_train_as_pythons_do():
    one, two = (
        fit(perceptron, SPLIT, recipe=Recipe(epochs=as_(2), batch_size=as_(8), patience=as_(1)))
        for as_ in (int, np.int64)
    )
    assert torch.equal(weights(one.model), weights(two.model))


def test_a_builder_must_build_a_module():
    with pytest.raises(TypeError, match=r"`build` must return a torch.nn.Module; got int"):
        fit(lambda: 3, SPLIT)


@pytest.mark.parametrize(("fields", "words"), [
    ({"epochs": 0}, "`epochs` must"), ({"batch_size": 1.5}, "`batch_size` must"),
    ({"lr": float("nan")}, "`lr` must"), ({"momentum": 1.0}, "`momentum` must"),
    ({"optimizer": "lion"}, "`optimizer` must"), ({"precision": "int8"}, "`precision` must"),
    ({"label_smoothing": 2.0}, "`label_smoothing` must"), ({"patience": 0}, "`patience` must"),
    ({"lr": "0.1"}, "`lr` must be positive and finite; got '0.1'"), ({"lr": None}, "`lr` must"),
    ({"dropout": "0.5"}, r"`dropout` must lie in \[0, 1\]"), ({"epochs": True}, "`epochs` must"),
    ({"epochs": None}, "`epochs` must"), ({"clip_percent": "1"}, "`clip_percent` must lie"),
    ({"clip_percent": 51}, r"`clip_percent` must lie in \[0, 50\]"),
    ({"schedule": "cosine"}, r"`schedule` must be a schedule such as .*Cosine\(\); got 'cosine'\."),
    ({"schedule": Cosine}, "`schedule` must be a schedule"),
    ({"augmentation": "flip"}, r"`augmentation` must be an Augmentation or None; got 'flip'\."),
    ({"nesterov": True, "optimizer": "adam"}, "`nesterov` goes with sgd .*; got 'adam' and 0.9"),
])  # fmt: skip
def test_a_recipe_checks_its_numbers(fields, words):
    with pytest.raises(ValueError, match=words):
        Recipe(**fields)


def test_a_recipe_names_and_drops_its_regularizers():
    recipe = Recipe(
        weight_decay=0.1,
        dropout=0.5,
        label_smoothing=0.1,
        early_stopping=3,
        augmentation=Augmentation(flip=True),
    )
    assert recipe.regularizer_names == (
        "weight decay", "dropout", "augmentation", "label smoothing", "early stopping"
    )  # fmt: skip
    assert recipe.without_regularizers() == Recipe(dropout=0.0)


class KeepsNorm(nn.Module):
    """Keeps its BatchNorm in evaluation mode by a `train` that returns nothing."""

    def __init__(self, conv=False):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3) if conv else nn.Identity()
        self.norm = nn.BatchNorm2d(4 if conv else 2)
        self.out = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
        self.eval()
        self(torch.zeros(1, 2, 6, 6))

    def forward(self, x):
        return self.out(self.norm(self.conv(x)))

    def train(self, mode=True):
        super().train(mode)
        self.norm.eval()


@pytest.mark.parametrize("conv", [False, True])
def test_a_train_that_returns_nothing(conv):
    run = fit(lambda: KeepsNorm(conv), make_images(), recipe=Recipe(epochs=2))
    assert isinstance(run.model, KeepsNorm) and not run.model.training
    assert run.model.norm.num_batches_tracked == 0
    robust = Recipe(epochs=2, optimizer="trimmed_mean_sgd", lr=1e-4, batch_size=10, clip_percent=20)
    assert fit(lambda: KeepsNorm(conv), make_images(), recipe=robust).status == "stopped"


def test_a_network_that_is_one_layer():
    split, recipe = make_split(), Recipe(epochs=3, lr=0.05)
    bare = fit(lambda: nn.Linear(6, 3), split, recipe=recipe)
    inside = fit(lambda: nn.Sequential(nn.Linear(6, 3)), split, recipe=recipe)
    assert torch.equal(bare.model.weight, inside.model[0].weight)
    assert isinstance(bare.model, nn.Linear)


class Odd(nn.Module):
    """Returns what is not one tensor, always or in training only."""

    def __init__(self, wrap, always):
        super().__init__()
        self.out, self.wrap, self.always = nn.Linear(6, 3), wrap, always

    def forward(self, x):
        found = self.out(x)
        return self.wrap(found) if self.always or self.training else found


@pytest.mark.parametrize("always", [True, False])
@pytest.mark.parametrize(
    ("wrap", "name"),
    [(lambda y: (y, y), "tuple"), (lambda y: {"y": y}, "dict"), (lambda y: None, "NoneType")],
)
def test_outputs_that_are_not_one_tensor_are_refused(wrap, name, always):
    with pytest.raises(ValueError, match=f"`model` must return one tensor of outputs; got {name}"):
        fit(lambda: Odd(wrap, always), make_split(), recipe=Recipe(epochs=1))


def test_lazy_layers_are_refused():
    with pytest.raises(ValueError, match=r"got the lazy '0\.weight'"):
        fit(lambda: nn.Sequential(nn.LazyLinear(3)), make_split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((perceptron, (torch.zeros(3, 6), torch.zeros(3))), "`split` must be a gengap.Split"),
        ((None, make_split()), "`model` must be a torch.nn.Module or a function"),
        (("mlp", make_split()), "`model` must be a torch.nn.Module or a function"),
    ],
)
def test_arguments_of_another_kind_are_refused(arguments, message):
    with pytest.raises(TypeError, match=message):
        fit(*arguments)


def test_a_recipe_and_a_test_half_of_another_kind_are_refused():
    with pytest.raises(TypeError, match=r"`recipe` must be a gengap\.Recipe; got dict"):
        fit(perceptron, make_split(), recipe={"epochs": 2})
    with pytest.raises(TypeError, match=r"`test` must be a gengap\.Split; got tuple"):
        fit(perceptron, make_split(), test=(1, 2))


class Stashing(nn.Module):
    """Keeps what it has computed, as networks do that show their activations."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(6, 3)

    def forward(self, x):
        self.seen = torch.relu(self.out(x))
        return self.seen


@pytest.mark.global_rng("torch")
def test_a_network_that_keeps_an_activation():
    model = Stashing()
    model(torch.zeros(2, 6)).sum().backward()
    run = fit(model, make_split(), recipe=Recipe(epochs=2))
    again = fit(run.model, make_split(), recipe=Recipe(epochs=2))
    assert model.seen.requires_grad and isinstance(again.model, Stashing)


@pytest.mark.global_rng("torch")
@pytest.mark.parametrize("kind", ["register_hook", "register_post_accumulate_grad_hook"])
def test_hooks_on_parameters_are_refused(kind):
    def build():
        model = perceptron()
        getattr(next(model.parameters()), kind)(lambda _: None)
        return model

    with pytest.raises(ValueError, match=r"must have no hooks on its parameters.* one on '"):
        fit(build, make_split(), recipe=Recipe(epochs=1))
