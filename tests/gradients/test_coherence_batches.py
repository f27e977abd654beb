"""Closed form, twin and simulation: coherence of examples from the gradients of batches.

Oracle: the examples' own gradients; Gaussians of known alpha; one batch after the other by hand.
"""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

import gengap
from gengap.data import gaussian_clusters
from gengap.gradients import (
    alpha_of_batches,
    coherence_from_batches,
    coherence_from_sums,
    minibatch_coherence,
)
from tests.reference import coherence as twin


def gaussian(generator, *, n, alpha, p=20):
    """Vectors [n, p] of a Gaussian of this alpha."""
    mean = np.zeros(p)
    mean[0] = math.sqrt(p * alpha / (1 - alpha))
    return mean + generator.normal(size=(n, p))


def batch_means(g, size):
    return list(torch.from_numpy(g).view(-1, size, g.shape[1]).mean(1))


def seeded(build):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return build()


def test_gradients_that_are_zero_have_no_coherence():
    found = coherence_from_batches([torch.zeros(3)] * 4, batch_size=5)
    values = found.batch_alpha, found.inverted_alpha, found.unbiased_alpha, found.standard_error
    assert all(math.isnan(value) for value in values)


@pytest.mark.parametrize("build", [nn.Flatten, lambda: nn.Linear(6, 3).requires_grad_(False)])
def test_a_model_with_nothing_to_train_is_told(build):
    split = gaussian_clusters(20, dim=6, num_classes=3, separation=2.0, seed=0)
    with pytest.raises(ValueError, match="must have parameters to train; got none"):
        minibatch_coherence(seeded(build), split, batch_size=5)


def test_batches_of_one_are_the_examples():
    g = gaussian(np.random.default_rng(0), n=12, alpha=0.3)
    found, plain = coherence_from_batches(list(torch.from_numpy(g)), batch_size=1), twin
    assert found.n == 12
    assert found.unbiased_alpha == pytest.approx(plain.unbiased_alpha(g))
    assert found.standard_error == pytest.approx(plain.jackknife_error(g))
    assert found.alpha == pytest.approx(plain.alpha(g))
    assert found.m_coherence == pytest.approx(12 * plain.alpha(g))
    assert found.inverted_alpha == found.batch_alpha == pytest.approx(plain.alpha(g))


@pytest.mark.parametrize("alpha", [0.0, 0.01, 0.1, 0.6])
@pytest.mark.parametrize(("batches", "size"), [(10, 16), (20, 4)])
def test_the_correction_takes_the_bias_of_the_inversion_away(alpha, batches, size):
    generator = np.random.default_rng(1)
    found = [
        coherence_from_batches(
            iter(batch_means(gaussian(generator, n=batches * size, alpha=alpha), size)),
            batch_size=size,
        )
        for _ in range(300)
    ]
    corrected = np.array([one.unbiased_alpha for one in found])
    error = corrected.std() / math.sqrt(len(found))
    assert corrected.mean() == pytest.approx(alpha, abs=4 * error + 0.005 * alpha)
    of_batches = np.array([one.batch_alpha for one in found])
    inflated = 1 / batches + (1 - 1 / batches) * alpha_of_batches(alpha, size)
    assert of_batches.mean() == pytest.approx(inflated, rel=0.03)
    n = batches * size
    of_sample = 1 / n + (1 - 1 / n) * alpha
    assert np.mean([one.alpha for one in found]) == pytest.approx(of_sample, abs=4 * error)
    inverted = np.mean([one.inverted_alpha for one in found]) / of_sample
    assert inverted < 1.02 * n / (n - size + 1)
    if alpha <= 0.1:
        assert inverted > 1 + 0.5 * (size - 1) / n


def test_the_standard_error_covers():
    generator = np.random.default_rng(2)
    values, errors = [], []
    for _ in range(400):
        g = gaussian(generator, n=20 * 8, alpha=0.1)
        found = coherence_from_batches(batch_means(g, 8), batch_size=8)
        values.append(found.unbiased_alpha)
        errors.append(found.standard_error)
    values, errors = np.array(values), np.array(errors)
    assert errors.mean() / values.std() == pytest.approx(1, abs=0.12)
    assert 0.9 <= (np.abs(values - 0.1) < 1.96 * errors).mean() <= 0.98


def test_it_estimates_what_the_examples_show():
    g = gaussian(np.random.default_rng(3), n=4000, alpha=0.05)
    of_examples = gengap.coherence(twin.risk_of(g), standard_errors=False)
    of_batches = coherence_from_batches(batch_means(g, 20), batch_size=20)
    assert of_batches.m_coherence == pytest.approx(of_examples.m_coherence, rel=0.02)
    assert of_batches.batch_alpha > 9 * of_examples.alpha


def test_sums_of_workers_give_the_same_as_the_batches():
    g = gaussian(np.random.default_rng(4), n=40, alpha=0.2, p=6)
    means = [
        {"a.weight": mean[:4], "a.bias": mean[4:5], "b": mean[5:]} for mean in batch_means(g, 5)
    ]
    whole = coherence_from_batches(means, batch_size=5)
    halves = [
        (
            {name: sum(mean[name] for mean in part) for name in part[0]},
            {name: sum(float(mean[name].square().sum()) for mean in part) for name in part[0]},
        )
        for part in (means[:3], means[3:])
    ]
    total = {name: halves[0][0][name] + halves[1][0][name] for name in means[0]}
    squares = {name: halves[0][1][name] + halves[1][1][name] for name in means[0]}
    named = coherence_from_sums(total, squares, num_batches=8, batch_size=5)
    lump = coherence_from_sums(total, sum(squares.values()), num_batches=8, batch_size=5)
    for found in (named, lump):
        assert found.unbiased_alpha == pytest.approx(whole.unbiased_alpha)
        assert math.isnan(found.standard_error)
    np.testing.assert_allclose(named.per_layer, whole.per_layer)
    assert list(whole.per_layer.index) == ["a", "."]
    alone = coherence_from_batches([mean[:5] for mean in batch_means(g, 5)], batch_size=5)
    assert whole.per_layer.loc["a", "unbiased_alpha"] == pytest.approx(alone.unbiased_alpha)


def test_a_network_with_batch_norm_in_training_mode():
    build = lambda: nn.Sequential(  # noqa: E731
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)
    )
    model = seeded(build).eval()
    before = copy.deepcopy(model.state_dict())
    split = gaussian_clusters(62, dim=6, num_classes=3, separation=2.0, seed=0)
    found = minibatch_coherence(model, split, batch_size=10, seed=3)
    assert (found.num_batches, found.n) == (6, 60)
    assert found.standard_error > 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.training
    assert all(p.grad is None for p in model.parameters())
    again = minibatch_coherence(model, split, batch_size=10, seed=3, standard_errors=False)
    assert again.unbiased_alpha == found.unbiased_alpha
    assert math.isnan(again.standard_error)


def test_the_batches_of_a_network_are_those_of_a_plain_loop():
    model = seeded(lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)))
    split = gaussian_clusters(40, dim=6, num_classes=3, separation=2.0, seed=0)
    found = minibatch_coherence(model, split, batch_size=8, seed=5, dtype=torch.float64)
    order = torch.randperm(40, generator=gengap._streams.streams(5)("batches"))
    plain, gradients = copy.deepcopy(model).double().train(), []
    for chosen in order.view(-1, 8):
        x, y = split.batch(chosen)
        plain.zero_grad()
        nn.functional.cross_entropy(plain(x.double()), y).backward()
        gradients.append({name: p.grad.clone() for name, p in plain.named_parameters()})
    twin_of_it = coherence_from_batches(gradients, batch_size=8)
    assert found.unbiased_alpha == pytest.approx(twin_of_it.unbiased_alpha, rel=1e-10)
    assert found.standard_error == pytest.approx(twin_of_it.standard_error, rel=1e-8)
    np.testing.assert_allclose(found.per_layer, twin_of_it.per_layer, rtol=1e-8)
    assert repr(found).startswith("BatchCoherence(5 batches of 8, alpha=")


def test_without_batch_norm_it_agrees_with_the_examples():
    model = seeded(lambda: nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)))
    split = gaussian_clusters(1200, dim=6, num_classes=3, separation=2.0, seed=0)
    exact = gengap.coherence(gengap.Risk(model, split))
    found = minibatch_coherence(model, split, batch_size=10)
    assert found.unbiased_alpha == pytest.approx(exact.unbiased_alpha, abs=3 * found.standard_error)
    assert found.standard_error < 0.3 * exact.unbiased_alpha


def test_wrong_batches_are_told():
    split = gaussian_clusters(12, dim=6, num_classes=3, separation=2.0, seed=0)
    model = seeded(lambda: nn.Linear(6, 3))
    with pytest.raises(ValueError, match="at least two batches of 12 examples; got 7"):
        minibatch_coherence(model, split, batch_size=7)
    with pytest.raises(ValueError, match="`num_batches` must be a whole number of at least 2"):
        coherence_from_batches([torch.ones(3)], batch_size=4)
    with pytest.raises(ValueError, match="`squared_norms` must have the names of `total`"):
        coherence_from_sums({"a": torch.ones(3)}, {"b": 2.0}, num_batches=2, batch_size=4)
