"""Twin: the perceptron program against autograd, directly and through the other program."""

import copy

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional as F

from gengap._streams import streams
from gengap.training import Recipe
from gengap.training._autograd_program import AutogradProgram
from gengap.training._dropout import seed_dropout
from gengap.training._perceptron_program import PerceptronProgram, perceptron_layers
from tests.training.cases import convolutional, normed, perceptron, tanh_network

pytestmark = pytest.mark.global_rng("torch")


def seeded_models(lanes, **fields):
    models = []
    for seed in range(lanes):
        torch.manual_seed(seed)
        models.append(perceptron(**fields))
        seed_dropout(models[-1], None)
    return models


def batch(lanes, size, dim=6, classes=3, width=None):
    draw = torch.Generator().manual_seed(5)
    x = torch.randn(lanes, size, dim, generator=draw)
    if width:
        return x, torch.randn(lanes, size, width, generator=draw)
    return x, torch.randint(classes, (lanes, size), generator=draw)


def programs(models, recipe):
    layers = perceptron_layers(models[0])
    assert layers is not None
    return PerceptronProgram(models, layers, recipe), AutogradProgram(models, recipe)


def both(models, recipe, x, y):
    found = []
    for program in programs(copy.deepcopy(models), recipe):
        program.start_epoch([streams(s)("dropout", 0) for s in range(len(models))])
        losses, gradients = program.gradients(x, y)
        found.append((losses, [g.clone() for g in gradients], program.outputs(x)))
    return found


@settings(max_examples=40, deadline=None)
@given(
    lanes=st.integers(1, 4),
    size=st.integers(1, 9),
    dim=st.integers(1, 7),
    hidden=st.lists(st.integers(1, 6), max_size=3),
    classes=st.integers(1, 5),
    bias=st.booleans(),
    dropout=st.sampled_from([0.0, 0.3]),
    smoothing=st.sampled_from([0.0, 0.2]),
)
def test_the_programs_agree(lanes, size, dim, hidden, classes, bias, dropout, smoothing):
    models = seeded_models(
        lanes, dim=dim, hidden=hidden, classes=classes, bias=bias, dropout=dropout
    )
    recipe = Recipe(label_smoothing=smoothing)
    x, y = batch(lanes, size, dim, classes)
    (loss, grads, outputs), (twin_loss, twin_grads, twin_outputs) = both(models, recipe, x, y)
    close = {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(loss, twin_loss, **close)
    torch.testing.assert_close(outputs, twin_outputs, **close)
    for g, t in zip(grads, twin_grads, strict=True):
        torch.testing.assert_close(g, t, **close)


@pytest.mark.parametrize("hidden", [(), (8,), (8, 5, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_are_those_of_autograd(hidden, bias):
    models = seeded_models(2, hidden=hidden, bias=bias)
    x, y = batch(2, 7)
    for (losses, grads, _), smoothing in (
        (both(models, Recipe(label_smoothing=s), x, y)[0], s) for s in (0.0, 0.3)
    ):
        for i, model in enumerate(models):
            loss = F.cross_entropy(model.double()(x[i].double()), y[i], label_smoothing=smoothing)
            expected = torch.autograd.grad(loss, list(model.parameters()))
            assert losses[i] == pytest.approx(float(loss.detach()), rel=1e-6)
            for g, e in zip(grads, expected, strict=True):
                torch.testing.assert_close(g[i].double(), e, rtol=1e-5, atol=1e-6)
            model.float()


def test_squared_error_gradients_are_those_of_autograd():
    models = seeded_models(2, classes=4)
    x, y = batch(2, 7, width=4)
    found = both(models, Recipe(loss="squared_error"), x, y)
    for losses, grads, _ in found:
        for i, model in enumerate(models):
            loss = 0.5 * (model(x[i]) - y[i]).square().sum(1).mean()
            expected = torch.autograd.grad(loss, list(model.parameters()))
            assert losses[i] == pytest.approx(float(loss.detach()), rel=1e-5)
            for g, e in zip(grads, expected, strict=True):
                torch.testing.assert_close(g[i], e, rtol=1e-5, atol=1e-6)


def test_dropout_masks_are_the_draws_of_the_lane():
    models = seeded_models(2, hidden=(8, 8), dropout=0.5)
    x, y = batch(2, 7)
    for losses, grads, _ in both(models, Recipe(), x, y):
        for i, model in enumerate(models):
            draw = streams(i)("dropout", 0)
            masks = [(torch.rand(7, 8, generator=draw) >= 0.5).float() * 2 for _ in range(2)]
            w = list(model.parameters())
            h = (x[i] @ w[0].T + w[1]).relu() * masks[0]
            h = (h @ w[2].T + w[3]).relu() * masks[1]
            loss = F.cross_entropy(h @ w[4].T + w[5], y[i])
            assert losses[i] == pytest.approx(float(loss.detach()), rel=1e-5)
            for g, e in zip(grads, torch.autograd.grad(loss, w), strict=True):
                torch.testing.assert_close(g[i], e, rtol=1e-5, atol=1e-6)


def test_only_plain_perceptrons_are_taken_for_one():
    assert perceptron_layers(perceptron(hidden=(4, 4))) is None  # dropout not swapped yet
    assert all(perceptron_layers(m) is None for m in (tanh_network(), normed(), convolutional()))
    frozen = seeded_models(1)[0]
    frozen[1].weight.requires_grad_(False)
    tied = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ReLU(), torch.nn.Linear(3, 3))
    tied[2].weight = tied[0].weight
    ends_in_relu = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ReLU())
    assert all(perceptron_layers(m) is None for m in (frozen, tied, ends_in_relu))


@pytest.mark.parametrize("kind", [torch.nn.Dropout, torch.nn.Dropout2d])
def test_dropout_keeps_the_mean_and_drops_what_it_says(kind):
    model = torch.nn.Sequential(kind(0.3))
    layer = seed_dropout(model, None)[0]
    layer.generator = torch.Generator().manual_seed(0)
    out = model.train()(torch.ones(2000, 10, 2, 2))
    channel = out.flatten(2)
    assert out.mean() == pytest.approx(1.0, abs=0.03)
    assert (out == 0).float().mean() == pytest.approx(0.3, abs=0.02)
    assert out.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    together = bool((channel.amax(2) == channel.amin(2)).all())
    assert together == (kind is torch.nn.Dropout2d)
    assert torch.equal(model.eval()(torch.ones(3, 4)), torch.ones(3, 4))
