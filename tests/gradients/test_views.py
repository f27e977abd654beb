"""Twin and simulation: coherence of augmented examples, views and examples told apart.

Oracle: every view's gradient by itself; vectors whose three coherences are known.
"""

import math

import numpy as np
import pytest
import torch
from torch import nn

import gengap
from gengap.data import Augmentation, Split
from gengap.gradients import ViewCoherence, view_coherence
from gengap.gradients._view_coherence import _views
from tests.reference import coherence as twin

AUGMENTATION = Augmentation(flip=True, padding=1, random_crop=True)


@pytest.fixture
def risk():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(70, 2, 6, 6, generator=generator)
    labels = torch.randint(0, 3, (70,), generator=generator)
    with torch.random.fork_rng(devices=[]):
        model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    split = Split(inputs=images, targets=labels, num_classes=3)
    return gengap.Risk(model, split, dtype=torch.float64)


def by_hand(g, num_views):
    """The three unbiased numbers of view gradients [n * v, p], pair by pair."""
    g = g.reshape(-1, num_views, g.shape[1])
    n, v = g.shape[:2]
    of_examples = np.mean([
        g[i, a] @ g[j, b]
        for i in range(n)
        for j in range(n)
        if i != j
        for a in range(v)
        for b in range(v)
    ])
    within = np.mean([
        g[i, a] @ g[i, b] for i in range(n) for a in range(v) for b in range(v) if a != b
    ])
    norms = np.square(g).sum(-1).mean()
    return of_examples / norms, of_examples / within, within / norms


def measured(g):
    """The result for view gradients [n, v, p]."""
    means = g.mean(1)
    total = means.sum(0)
    return ViewCoherence(
        num_views=g.shape[1],
        view_norms=torch.from_numpy(np.square(g).sum(-1).mean(1)),
        example_norms=torch.from_numpy(np.square(means).sum(1)),
        of_sum=float(total @ total),
        dots=torch.from_numpy(means @ total),
    )


def test_a_network_agrees_with_the_gradients_of_its_views(risk):
    few = risk[:9]
    g = np.concatenate([twin.matrix(part) for part in _views(few, AUGMENTATION, 3, 5)])
    assert g.shape[0] == 27
    found = view_coherence(few, AUGMENTATION, num_views=3, seed=5)
    wanted = by_hand(g, 3)
    got = (found.unbiased_alpha_view, found.unbiased_alpha_example, found.unbiased_rho)
    assert got == pytest.approx(wanted, rel=1e-9)
    assert found.alpha_view == pytest.approx(twin.alpha(g), rel=1e-9)
    assert found.alpha_example == pytest.approx(twin.alpha(g.reshape(9, 3, -1).mean(1)), rel=1e-9)
    left_out = np.array([
        by_hand(np.delete(g, [3 * i, 3 * i + 1, 3 * i + 2], 0), 3) for i in range(9)
    ])
    errors = np.sqrt(8 / 9 * np.square(left_out - left_out.mean(0)).sum(0))
    assert list(found.standard_errors.values()) == pytest.approx(errors, rel=1e-7)


def test_the_parts_multiply_to_the_whole(risk):
    found = view_coherence(risk[:9], AUGMENTATION, num_views=3, standard_errors=False)
    assert found.alpha_view == pytest.approx(found.alpha_example * found.rho)
    product = found.unbiased_alpha_example * found.unbiased_rho
    assert found.unbiased_alpha_view == pytest.approx(product)
    assert all(math.isnan(error) for error in found.standard_errors.values())


def test_the_draws_do_not_depend_on_the_chunks(risk, monkeypatch):
    whole = view_coherence(risk, AUGMENTATION, num_views=2, seed=1)
    monkeypatch.setattr("gengap.gradients._view_coherence._FLOATS_AT_ONCE", 5000)
    risk.chunk = 3
    parted = view_coherence(risk, AUGMENTATION, num_views=2, seed=1)
    assert len(list(_views(risk, AUGMENTATION, 2, 1))) > 5
    assert parted.n == 70
    assert parted.alpha_view == pytest.approx(whole.alpha_view, rel=1e-10)
    assert parted.standard_errors == pytest.approx(whole.standard_errors, rel=1e-8)
    assert view_coherence(risk, AUGMENTATION, num_views=2, seed=2).alpha_view != whole.alpha_view


def test_an_augmentation_that_does_nothing_leaves_one_view(risk):
    found = view_coherence(risk[:8], Augmentation(), num_views=3)
    plain = gengap.coherence(risk[:8])
    assert found.rho == pytest.approx(1)
    assert found.unbiased_rho == pytest.approx(1)
    assert found.alpha_example == pytest.approx(plain.alpha)
    assert found.unbiased_alpha_view == pytest.approx(plain.unbiased_alpha)
    assert found.standard_errors["alpha_view"] == pytest.approx(plain.standard_error)


@pytest.mark.parametrize("longer", [1e2, 1e6])
def test_what_one_long_gradient_hides_is_told_in_float64_only(longer):
    images = torch.randn(60, 1, 4, 4, generator=torch.Generator().manual_seed(0)) + 1
    images[3] *= longer
    split = Split(inputs=images, targets=torch.zeros(60), num_classes=None)
    found = {}
    for dtype in (torch.float32, torch.float64):
        with torch.random.fork_rng(devices=[]):
            model = nn.Sequential(nn.Flatten(), nn.Linear(16, 1, bias=False), nn.Flatten(0))
        nn.init.zeros_(model[1].weight)
        risk = gengap.Risk(model, split, loss=lambda out, y: out, dtype=dtype)
        found[dtype] = view_coherence(risk, AUGMENTATION, num_views=3).standard_errors
    single, double = found.values()
    assert not any(math.isnan(error) for error in double.values())
    if longer > 1e3:
        assert all(math.isnan(error) for error in single.values())
    else:
        assert single == pytest.approx(double, rel=0.05)


def test_simulated_views_give_the_numbers_they_were_drawn_with():
    generator, p, found, errors = np.random.default_rng(0), 30, [], []
    mean = np.zeros(p)
    mean[0] = math.sqrt(p)
    for _ in range(300):
        examples = mean + generator.normal(size=(40, 1, p)) * math.sqrt(3)
        one = measured(examples + generator.normal(size=(40, 4, p)) * 2)
        found.append((one.unbiased_alpha_view, one.unbiased_alpha_example, one.unbiased_rho))
        errors.append(list(one.standard_errors.values()))
    found, errors = np.array(found), np.array(errors)
    truth = np.array([1 / 8, 1 / 4, 1 / 2])
    assert found.mean(0) == pytest.approx(truth, rel=0.015)
    assert errors.mean(0) / found.std(0) == pytest.approx(np.ones(3), abs=0.13)
    covered = (np.abs(found - truth) < 1.96 * errors).mean(0)
    assert (covered > 0.91).all()
    assert (covered < 0.99).all()


def test_what_does_not_fit_is_told(risk):
    with pytest.raises(ValueError, match="`num_views` must be a whole number of at least 2"):
        view_coherence(risk, AUGMENTATION, num_views=1)
    with pytest.raises(ValueError, match="needs images"):
        view_coherence(twin.risk_of(np.ones((4, 3))), AUGMENTATION)
    assert repr(view_coherence(risk[:5], AUGMENTATION)).startswith("ViewCoherence(n=5, num_views=8")
