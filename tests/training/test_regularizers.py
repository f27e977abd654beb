"""Twin: training with penalties against a loop written out, alone and in lanes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import final

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gengap._streams import streams
from gengap.data import Split
from gengap.lab import Data, Model, Trial
from gengap.lab._plain import plain, revived
from gengap.optim import DARC1, Regularizer
from gengap.training import Lane, Packing, Recipe, build_seeded, fit, fit_lanes
from tests.training.cases import convolutional, make_images, make_split, normed, perceptron, weights

RECIPE = Recipe(epochs=2, batch_size=12, lr=0.1, momentum=0.0)
DARC = DARC1(strength=0.3)


@final
@dataclass(frozen=True, kw_only=True)
class SmallFeatures(Regularizer):
    """Half the mean square of what one module gives."""

    layer: str = "1"
    strength: float = 1.0

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer,)

    @property
    def label(self) -> str:
        return "small features"

    def penalty(self, outputs: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        return 0.5 * self.strength * features[self.layer].square().sum() / len(outputs)


def darc1(logits):
    sums = [sum(abs(row[k]) for row in logits) for k in range(logits.shape[1])]
    return 0.3 * max(sums) / len(logits)


def by_hand(split, build, penalty, seed=0):
    """SGD with autograd, one network, the library's own order of batches."""
    model = build_seeded(build, seed)
    for epoch in range(RECIPE.epochs):
        order = torch.randperm(len(split), generator=streams(seed)("batches", epoch))
        for indices in order.split(RECIPE.batch_size):
            x, y = split.batch(indices)
            loss = F.cross_entropy(model(x), y) + penalty(model, x)
            for p, g in zip(
                model.parameters(), torch.autograd.grad(loss, model.parameters()), strict=True
            ):
                p.data -= RECIPE.lr * g
    return model


def test_penalty_is_the_papers_formula():
    outputs = torch.tensor([[1.0, -3.0], [2.0, 0.5], [-2.0, 0.0]])
    assert DARC1(strength=0.5).penalty(outputs, {}).item() == pytest.approx(0.5 * 5.0 / 3)


@pytest.mark.parametrize("build", [perceptron, normed], ids=["perceptron", "autograd"])
def test_training_equals_a_loop_with_darc1(build):
    split = make_split(n=30)

    def penalty(model, x):
        return darc1(model(x))

    run = fit(build, split, recipe=replace(RECIPE, regularizers=(DARC,)), seed=3)
    found, without = (
        dict(r.model.named_parameters()) for r in (run, fit(build, split, recipe=RECIPE, seed=3))
    )
    for name, expected in by_hand(split, build, penalty, seed=3).named_parameters():
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-5)
    assert max((found[name] - without[name]).abs().max() for name in found) > 1e-3


def test_penalty_on_hidden_representation():
    split = make_split(n=30)
    recipe = replace(RECIPE, regularizers=(SmallFeatures(), DARC))
    run = fit(perceptron, split, recipe=recipe, seed=1)

    def penalty(model, x):
        return 0.5 * model[:2](x).square().sum() / len(x) + darc1(model(x))

    expected = by_hand(split, perceptron, penalty, seed=1)
    torch.testing.assert_close(weights(run.model), weights(expected), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("build", [perceptron, convolutional], ids=["perceptron", "convolutional"])
@pytest.mark.parametrize("own", [DARC, SmallFeatures(strength=0.01)], ids=["outputs", "features"])
def test_lanes_equal_runs_alone(build, own):
    make = make_split if build is perceptron else make_images
    lanes = [Lane(split=make(n=24, seed=s), seed=s, lr=0.05 * (s + 1)) for s in range(3)]
    recipe = replace(RECIPE, regularizers=(own,))
    together = fit_lanes(
        build, lanes, recipe=recipe, packing=Packing(lanes=3, workers=1, why="asked for")
    )
    for lane, run in zip(lanes, together, strict=True):
        alone = fit(build, lane.split, recipe=replace(recipe, lr=lane.lr), seed=lane.seed)
        torch.testing.assert_close(weights(run.model), weights(alone.model), rtol=1e-3, atol=1e-5)


def test_recorded_losses_are_without_the_penalty():
    split = make_split(n=12)
    recipe = replace(RECIPE, epochs=1, regularizers=(DARC,))
    for build in (perceptron, lambda: normed()[:1].append(torch.nn.Linear(8, 3))):
        run = fit(build, split, recipe=recipe)
        assert run.rows[1]["batch_loss"] == pytest.approx(run.rows[0]["train_loss"], rel=1e-5)


def test_squared_error_and_bfloat16_take_a_penalty():
    real = Split(inputs=torch.randn(20, 6, generator=streams(0)("x")), targets=torch.ones(20, 3))
    recipe = replace(RECIPE, loss="squared_error", regularizers=(DARC1(strength=50.0),))
    assert fit(perceptron, real, recipe=recipe).final["train_loss"] > 1
    fast = replace(RECIPE, precision="bfloat16", regularizers=(DARC, SmallFeatures()))
    assert fit(perceptron, make_split(), recipe=fast).status != "diverged"


def test_a_trial_names_regularizers_only_when_given():
    trial = Trial(data=Data.named("digits"), model=Model.named("mlp"), recipe=RECIPE)
    assert "regularizers" not in trial.spec["recipe"]
    other = replace(trial, recipe=replace(RECIPE, regularizers=(DARC,)))
    assert other.spec["recipe"]["regularizers"] == [{"kind": "DARC1", "strength": 0.3}]
    assert other.id != trial.id
    assert revived(plain(other.recipe)) == other.recipe


def test_a_recipe_names_and_drops_them():
    recipe = replace(RECIPE, weight_decay=0.1, regularizers=(DARC,))
    assert recipe.regularizer_names == ("weight decay", "DARC1")
    assert recipe.without_regularizers().regularizers == ()


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_strength_is_positive(value):
    with pytest.raises(ValueError, match=r"`strength` must be positive and finite; got"):
        DARC1(strength=value)


@final
@dataclass(frozen=True, kw_only=True)
class Vector(Regularizer):
    @property
    def label(self) -> str:
        return "vector"

    def penalty(self, outputs: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        return outputs.sum(1)


@pytest.mark.parametrize(("own", "words"), [
    ((SmallFeatures(layer="nowhere"),), r"`layers` must be names of modules .*; got 'nowhere'"),
    ((Vector(),), r"must give one number a batch; vector gave a tensor of shape \(2,\)"),
])  # fmt: skip
def test_what_cannot_be_computed_is_one_sentence(own, words):
    with pytest.raises(ValueError, match=words):
        fit(perceptron, make_split(), recipe=replace(RECIPE, regularizers=own))


def test_a_recipe_wants_a_tuple_of_them():
    with pytest.raises(ValueError, match=r"`regularizers` must be a tuple .*; got \['l2'\]"):
        Recipe(regularizers=["l2"])
