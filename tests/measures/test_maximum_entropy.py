"""Closed form: moments at regularized optima; twin: scikit-learn's regression, NumPy's loops."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from gengap._streams import streams
from gengap.data import Split, gaussian_clusters
from gengap.measures import class_correlation, fit_probe, maximum_entropy, moment_residual
from gengap.models import mlp, residual_mlp, resnet

pytestmark = pytest.mark.global_rng("torch")
TRAIN, TEST = (
    gaussian_clusters(150, dim=5, num_classes=3, separation=2.0, seed=0, half=half)
    for half in ("train", "test")
)


def test_probe_is_scikit_learns_optimum():
    x, y = TRAIN.inputs, TRAIN.targets
    probe = fit_probe(x, y, num_classes=3, ridge=0.02)
    assert probe.converged
    z = ((x.double() - x.double().mean(0)) / x.double().std(0, correction=0)).numpy()
    twin = LogisticRegression(C=1 / (0.02 * len(x)), tol=1e-10, max_iter=10_000)
    twin.fit(z, y.numpy())
    expected = twin.predict_log_proba(z)
    found = probe.logits(x).log_softmax(1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert probe.loss(x, y) == pytest.approx(
        -expected[np.arange(len(y)), y.numpy()].mean(), abs=1e-5
    )


def test_probe_is_not_thrown_by_a_unit_that_hardly_moved():
    x, y = TRAIN.inputs, TRAIN.targets
    silent = torch.zeros(len(x), 1)
    silent[0] = 1e-6
    probe = fit_probe(torch.cat([x, silent], 1), y, num_classes=3)
    awake = torch.cat([TEST.inputs, torch.ones(len(TEST), 1)], 1)
    asleep = torch.cat([TEST.inputs, torch.zeros(len(TEST), 1)], 1)
    quiet = probe.loss(asleep, TEST.targets)
    assert probe.loss(awake, TEST.targets) == pytest.approx(quiet, rel=0.05)


def test_residual_is_the_ridge_times_the_weights_at_the_optimum_and_small_without():
    x = TRAIN.inputs.double()
    for ridge in (0.1, 1e-6):
        probe = fit_probe(x, TRAIN.targets, num_classes=3, ridge=ridge)
        z = (x - probe.mean) / probe.scale
        residual, relative = moment_residual(z, probe.logits(x), TRAIN.targets)
        assert residual == pytest.approx(ridge * float(probe.weight.norm()), abs=5e-5)
    assert relative < 1e-3
    wrong, _ = moment_residual(z, torch.zeros(len(z), 3), TRAIN.targets)
    assert wrong > 0.1


def test_residual_is_the_gradient_by_the_last_layer():
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    loss = nn.functional.cross_entropy(model(TRAIN.inputs.double()), TRAIN.targets)
    loss.backward()
    size = (model[2].weight.grad.square().sum() + model[2].bias.grad.square().sum()).sqrt()
    found = maximum_entropy(model.float(), TRAIN, TEST)
    assert found.residual == pytest.approx(float(size), rel=1e-5)


def test_correlation_is_numpys():
    draw = streams(0)("features")
    mix = torch.randn(4, 4, generator=draw)
    features = torch.randn(90, 4, generator=draw) @ mix
    features[:, 1] = 7.0
    targets = torch.arange(90) % 4
    targets[targets == 3] = 2
    total = 0.0
    for label in range(3):
        own = features[targets == label][:, [0, 2, 3]].numpy()
        matrix = np.corrcoef(own.T)
        total += len(own) / 90 * np.mean([abs(matrix[i, j]) for i in range(3) for j in range(i)])
    assert class_correlation(features, targets)[0] == pytest.approx(total, rel=1e-6)


def test_independent_features_show_chance_and_copies_show_one():
    draw = streams(1)("features")
    features = torch.randn(400, 30, generator=draw)
    targets = torch.arange(400) % 2
    found, chance = class_correlation(features, targets)
    assert found == pytest.approx(math.sqrt(2 / (math.pi * 200)), rel=0.06)
    assert chance == pytest.approx(found, rel=0.06)
    copies = features[:, :1].expand(-1, 5) * torch.tensor([1.0, -2.0, 3.0, 4.0, -5.0])
    assert class_correlation(copies, targets)[0] == pytest.approx(1.0)
    assert math.isnan(class_correlation(features[:, :1], targets)[0])


def test_a_shift_of_the_class_means_is_no_correlation():
    draw = streams(2)("features")
    features, targets = torch.randn(600, 20, generator=draw), torch.arange(600) % 3
    shifted = features + 50.0 * targets[:, None]
    before, after = (class_correlation(f, targets)[0] for f in (features, shifted))
    assert after == pytest.approx(before, rel=1e-4)


def test_layers_are_read_in_order_and_the_network_is_left_alone():
    model = mlp((5,), 3, hidden=(8, 6), dropout=0.5).train()
    found = maximum_entropy(model, TRAIN, TEST)
    assert [(layer.features, layer.probe_converged) for layer in found.layers] == [
        (8, True), (6, True)
    ]  # fmt: skip
    assert model.training
    assert not model[1]._forward_hooks
    again = maximum_entropy(model, TRAIN, TEST)
    assert again == found
    own = maximum_entropy(model, TRAIN, TEST, layers=("1",)).layers[0]
    assert (own.name, own.features) == ("1", 8)


def test_probe_on_a_layer_is_the_probe_on_its_features():
    model = residual_mlp((5,), 3, width=7, depth=3)
    layer = maximum_entropy(model, TRAIN, TEST, layers=("4",), ridge=0.01).layers[0]
    with torch.no_grad():
        train, test = (model[:5](half.inputs) for half in (TRAIN, TEST))
    probe = fit_probe(train, TRAIN.targets, num_classes=3, ridge=0.01)
    assert layer.probe_loss == pytest.approx(probe.loss(test, TEST.targets), rel=1e-6)


def test_residual_perceptrons_share_parameters_and_differ_in_the_sum():
    models = []
    for shortcuts in (True, False):
        torch.manual_seed(0)
        models.append(residual_mlp((5,), 3, width=7, depth=3, shortcuts=shortcuts))
    with_, without = models
    x = TRAIN.inputs[:4]
    h = without[:3](x)
    for layer in with_[3:5]:
        h = h + torch.relu(h @ layer.linear.weight.T + layer.linear.bias)
    torch.testing.assert_close(with_(x), with_[5](h))
    assert sum(p.numel() for p in with_.parameters()) == 5 * 7 + 7 + 2 * 56 + 7 * 3 + 3
    assert not torch.allclose(with_(x), without(x))


REAL = Split(inputs=torch.zeros(3, 5), targets=torch.zeros(3, 1))


@pytest.mark.parametrize(("model", "split", "fields", "words"), [
    (lambda: mlp((5,), 3), REAL, {}, "must have the same classes"),
    (lambda: nn.Sequential(nn.Linear(5, 3), nn.ReLU()), TRAIN, {}, "must end in an nn.Linear"),
    (lambda: mlp((5,), 3), TRAIN, {"layers": ("9",)}, "names of modules .*; got '9'"),
    (lambda: nn.Linear(5, 3), TRAIN, {}, "no activation modules"),
    (lambda: mlp((5,), 3), TRAIN, {"ridge": 0.0}, "`ridge` must"),
])  # fmt: skip
def test_what_cannot_be_read_is_one_sentence(model, split, fields, words):
    with pytest.raises(ValueError, match=words):
        maximum_entropy(model(), split, TEST, **fields)


def test_convolutional_features_are_drawn():
    draw = streams(0)("images")
    halves = [
        Split(
            inputs=torch.randn(40, 1, 8, 8, generator=draw),
            targets=torch.arange(40) % 2,
            num_classes=2,
        )
        for _ in range(2)
    ]
    model = resnet((1, 8, 8), 2, depth=8, width=2)
    found = maximum_entropy(model, *halves, layers=("3", "4"), pairs_of=20)
    assert [layer.features for layer in found.layers] == [128, 64]
    assert all(0 < layer.correlation < 1 for layer in found.layers)
