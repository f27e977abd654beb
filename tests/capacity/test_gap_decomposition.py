"""Twin: every path written out, one at a time, against products through the network."""

import itertools

import pytest
import torch
from torch import nn

from gengap._streams import streams
from gengap.capacity import gap_decomposition, validation_bound
from gengap.data import Split
from gengap.models import FrozenActivations, mlp, small_alexnet

pytestmark = pytest.mark.global_rng("torch")


def halves(*, classes=None, n=12, dim=3, width=2):
    draw = streams(0)("halves")
    found = []
    for half in ("train", "test"):
        inputs = torch.randn(n, dim, generator=draw)
        if classes:
            targets = torch.randint(classes, (n,), generator=draw)
        else:
            targets = torch.randn(n, width, generator=draw)
        found.append(Split(inputs=inputs, targets=targets, num_classes=classes, half=half))
        n += 5
    return found


def network(widths=(3, 4, 3, 2), bias=True):
    torch.manual_seed(1)
    layers = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b, bias=bias), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def all_paths(model, x):
    """Features [n, paths] and weights [paths, outputs] of a Sequential of Linear and ReLU."""
    layers = [m.double() for m in model if isinstance(m, nn.Linear)]
    on, h = [], x
    for layer in layers[:-1]:
        h = layer(h)
        on.append((h > 0).double())
        h = h * on[-1]
    features, weights = [], []
    for start in range(-1, len(layers)):
        if start >= 0 and layers[start].bias is None:
            continue
        first = range(layers[0].in_features) if start < 0 else [0]
        hidden = [range(layer.out_features) for layer in layers[max(start, 0) : -1]]
        for i, *units in itertools.product(first, *hidden):
            z = x[:, i] if start < 0 else torch.ones(len(x)).double()
            w = torch.ones(()).double()
            at = i
            for place, layer in enumerate(layers[max(start, 0) :]):
                index = max(start, 0) + place
                last = index == len(layers) - 1
                from_bias = start == index
                row = slice(None) if last else units[place]
                w = w * (layer.bias[row] if from_bias else layer.weight[row, at])
                if not last:
                    z = z * on[index][:, units[place]]
                    at = units[place]
            features.append(z)
            weights.append(w)
    return torch.stack(features, 1), torch.stack(weights)


@pytest.mark.parametrize("classes", [None, 2])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("widths", [(3, 2), (3, 4, 2), (3, 4, 3, 2)])
def test_every_number_is_that_of_the_written_out_paths(widths, bias, classes):
    train, test = halves(classes=classes)
    model = network(widths, bias)
    found = gap_decomposition(model, train, test)
    with torch.no_grad():
        sides = []
        for half in (train, test):
            x = half.inputs.double()
            y = half.targets.double()
            y = torch.eye(2).double()[half.targets] if classes else y
            z, w = all_paths(model, x)
            torch.testing.assert_close(z @ w, model.double()(x), rtol=1e-10, atol=1e-12)
            sides.append((z, y, (model(x) - y).square().sum(1).mean()))
        (z, y, risk), (z_test, y_test, test_risk) = sides
        v = z.T @ y / len(z) - z_test.T @ y_test / len(z_test)
        g = z_test.T @ z_test / len(z_test) - z.T @ z / len(z)
        eigenvalues = torch.linalg.eigvalsh(g)
    near = {"rel": 1e-9, "abs": 1e-10}
    assert found.gap == pytest.approx(float(test_risk - risk), **near)
    assert found.linear == pytest.approx(float(2 * (v * w).sum()), **near)
    assert found.quadratic == pytest.approx(float((w * (g @ w)).sum()), **near)
    assert found.residual == pytest.approx(0, abs=1e-11)
    assert found.paths == z.shape[1]
    assert found.v_norm == pytest.approx(float(v.norm()), **near)
    assert found.weight_norm == pytest.approx(float(w.norm()), **near)
    assert found.cosine == pytest.approx(float((v * w).sum() / v.norm() / w.norm()), **near)
    assert found.largest_eigenvalue == pytest.approx(max(0.0, float(eigenvalues[-1])), **near)
    assert found.smallest_eigenvalue == pytest.approx(min(0.0, float(eigenvalues[0])), **near)
    assert found.gap <= found.bound


def test_a_frozen_pattern_has_the_features_of_the_frozen_copy():
    train, test = halves()
    frozen = FrozenActivations(network())
    with torch.no_grad():
        for p in frozen.values.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=streams(0)("move")))
    found = gap_decomposition(frozen, train, test)
    with torch.no_grad():
        gaps = []
        for half in (train, test):
            z, _ = all_paths(frozen.gates, half.inputs.double())
            values = nn.Sequential(
                *(m if isinstance(m, nn.Linear) else nn.ReLU() for m in frozen.values)
            )
            _, w = all_paths(values, half.inputs.double())
            gaps.append((z @ w - half.targets.double()).square().sum(1).mean())
    assert found.gap == pytest.approx(float(gaps[1] - gaps[0]), rel=1e-9)
    assert found.residual == pytest.approx(0, abs=1e-11)


def test_terms_do_not_change_when_a_unit_is_rescaled():
    train, test = halves()
    model = network()
    before = gap_decomposition(model, train, test)
    with torch.no_grad():
        model[0].weight[1] *= 50
        model[0].bias[1] *= 50
        model[2].weight[:, 1] /= 50
    after = gap_decomposition(model, train, test)
    for name in ("gap", "weight_norm", "v_norm", "largest_eigenvalue"):
        assert getattr(after, name) == pytest.approx(getattr(before, name), rel=1e-5)


def test_the_librarys_perceptron_with_dropout_is_taken_and_left_alone():
    train, test = halves(classes=3)
    model = mlp((3,), 3, hidden=(5, 4), dropout=0.5).train()
    found = gap_decomposition(model, train, test)
    assert found.paths == 3 * 5 * 4 + 5 * 4 + 4 + 1
    assert model.training
    assert next(model.parameters()).dtype == torch.float32
    assert "squared loss" in found.sentence


@pytest.mark.parametrize(("model", "words"), [
    (nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), "`model` must be a perceptron"),
    (nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), "`model` must be a perceptron"),
    (nn.Sequential(nn.Linear(3, 4), nn.ReLU()), "`model` must be a perceptron"),
    (small_alexnet((3, 28, 28), 2), "`model` must be a perceptron"),
])  # fmt: skip
def test_other_networks_are_refused_in_a_sentence(model, words):
    with pytest.raises(ValueError, match=words):
        gap_decomposition(model, *halves())


def test_too_many_examples_are_refused_in_a_sentence():
    train, test = halves(n=8_000)
    with pytest.raises(ValueError, match=r"at most 8000 examples together.*; got 16005"):
        gap_decomposition(network(), train, test)


def test_validation_bound_is_the_papers_example():
    bound = validation_bound(1e9, 10_000, confidence=0.9)
    assert bound.value == pytest.approx(0.0694, abs=5e-5)
    log = 23.025850929940457  # 10 ln 10
    assert bound.value == pytest.approx(2 * log / 3e4 + (2 * log / 1e4) ** 0.5, rel=1e-12)
    assert not bound.vacuous
    assert validation_bound(1e9, 10).vacuous


def test_validation_bound_holds_for_the_best_of_many_coins():
    draw = streams(0)("coins")
    wrong = torch.rand(400, 50, 100, generator=draw) < 0.3  # draws, models, examples
    gaps = (0.3 - wrong.double().mean(2)).max(1).values
    bound = validation_bound(50, 100, confidence=0.9, deviation=0.5)
    assert (gaps > bound.value).double().mean() <= 0.1
    assert bound.value < 3 * gaps.mean()


@pytest.mark.parametrize(("fields", "words"), [
    ({"num_models": 0, "num_examples": 5}, "`num_models` must"),
    ({"num_models": 5, "num_examples": 0}, "`num_examples` must"),
    ({"num_models": 5, "num_examples": 5, "confidence": 1.0}, "`confidence` must"),
])  # fmt: skip
def test_validation_bound_checks_its_arguments(fields, words):
    models, examples = fields.pop("num_models"), fields.pop("num_examples")
    with pytest.raises(ValueError, match=words):
        validation_bound(models, examples, **fields)
