"""Closed form and property: the relatives of coherence and the identities between them.

Oracle: the definitions on a matrix of gradients, pair by pair; the identities.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings, strategies as st
from hypothesis.extra.numpy import arrays

import gengap
from gengap.data import gaussian_clusters
from gengap.gradients import (
    coherence_from_batches,
    gradient_confusion,
    gradient_disparity,
    gradient_diversity,
    gsnr,
    noise_scale,
    stiffness,
    stiffness_between,
)
from gengap.models import mlp
from tests.reference import coherence as twin

NUMBERS = st.floats(-8, 8).map(lambda x: round(x, 3))
SAMPLES = arrays(float, st.tuples(st.integers(2, 7), st.integers(1, 5)), elements=NUMBERS)
quick = settings(max_examples=30, deadline=None)


def draws(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def gram_of(g):
    return torch.from_numpy(g @ g.T)


@quick
@given(SAMPLES)
def test_diversity_and_noise_scale_are_coherence_by_other_names(g):
    assume(np.square(g.sum(0)).sum() > 1e-3)
    for floor in (True, False):
        found = gengap.coherence(twin.risk_of(g), standard_errors=False, floor=floor)
        squares, of_sum = np.square(g).sum(), np.square(g.sum(0)).sum()
        assert gradient_diversity(found) == pytest.approx(squares / of_sum)
        trace = g.var(0).sum()
        plain = noise_scale(found, unbiased=False)
        assert plain == pytest.approx(trace / np.square(g.mean(0)).sum(), rel=1e-6, abs=1e-9)
        assert twin.alpha(g) == pytest.approx(1 / (1 + plain))
    shown = gengap.coherence(twin.risk_of(g), standard_errors=False)
    assert gradient_diversity(shown) == pytest.approx(1 / shown.m_coherence)


def test_the_noise_scale_without_bias_is_a_ratio_of_unbiased_estimates():
    g = draws(9, 4) + 1
    found = gengap.coherence(twin.risk_of(g))
    pairs = [g[i] @ g[j] for i, j in itertools.permutations(range(9), 2)]
    assert noise_scale(found) == pytest.approx(g.var(0, ddof=1).sum() / np.mean(pairs))
    assert found.unbiased_alpha == pytest.approx(1 / (1 + noise_scale(found)))
    means = list(torch.from_numpy(g).view(3, 3, 4).mean(1))
    of_batches = coherence_from_batches(means, batch_size=3)
    assert of_batches.unbiased_alpha == pytest.approx(1 / (1 + noise_scale(of_batches)))
    assert gradient_diversity(of_batches) == pytest.approx(1 / of_batches.m_coherence)


def test_where_there_is_no_mean_the_noise_is_infinite():
    g = draws(4, 3)
    nothing = gengap.coherence(twin.risk_of(np.concatenate([g, -g])), floor=False)
    assert noise_scale(nothing) == noise_scale(nothing, unbiased=False) == math.inf
    assert gradient_diversity(nothing) == math.inf
    same = gengap.coherence(twin.risk_of(np.ones((5, 2))))
    assert noise_scale(same) == noise_scale(same, unbiased=False) == 0
    assert gradient_diversity(same) == pytest.approx(1 / 5)
    one = gengap.coherence(twin.risk_of(np.ones((1, 2))))
    assert gradient_diversity(one) == pytest.approx(1)
    assert math.isnan(noise_scale(one))
    still = gengap.coherence(twin.risk_of(np.zeros((4, 2))))
    assert math.isnan(gradient_diversity(still)) and math.isnan(noise_scale(still))


@pytest.mark.parametrize("seed", range(20))
def test_diversity_is_in_its_range_where_gradients_cancel(seed):
    g = draws(45, 3, seed=seed)
    g = np.concatenate([g, -g])
    found = gengap.coherence(twin.risk_of(g), standard_errors=False)
    batches = coherence_from_batches(list(torch.from_numpy(g)), batch_size=1)
    apart = coherence_from_batches(list(torch.from_numpy(g)), batch_size=3)  # below 0 by chance
    for sample in (found, batches, apart):
        assert gradient_diversity(sample) == math.inf


@pytest.fixture
def risk():
    split = gaussian_clusters(25, dim=6, num_classes=3, separation=2.0, seed=0)
    with torch.random.fork_rng(devices=[]):
        model = mlp((6,), 3, hidden=(7,))
    return gengap.Risk(model, split, dtype=torch.float64, chunk=7)


def test_the_signal_to_noise_ratio_of_every_parameter(risk):
    plain, unbiased = gsnr(risk), gsnr(risk, unbiased=True)
    for name, g in twin.stacked(risk).items():
        alive = g.var(0) > 0
        ratio = np.square(g.mean(0)[alive]) / g.var(0)[alive]
        np.testing.assert_allclose(plain[name].flatten()[alive], ratio, rtol=1e-9)
        pairs = (np.square(g.sum(0)) - np.square(g).sum(0)) / (25 * 24)
        wanted = (pairs / g.var(0, ddof=1).clip(1e-300))[alive]
        np.testing.assert_allclose(unbiased[name].flatten()[alive], wanted, rtol=1e-8, atol=1e-12)
        assert plain[name].shape == risk.params[name].shape


def test_coherence_is_the_mean_of_the_ratios_weighted_by_their_share_of_the_norm(risk):
    ratios, gradients = gsnr(risk), twin.stacked(risk)
    whole = sum(np.square(g).sum() for g in gradients.values())
    total = 0.0
    for name, g in gradients.items():
        r, f = ratios[name].flatten().numpy(), np.square(g).sum(0) / whole
        total += np.where(f > 0, f * r / (1 + r), 0).sum()
    assert gengap.coherence(risk).alpha == pytest.approx(total, rel=1e-10)


def test_ratios_at_the_ends():
    found = gsnr(twin.risk_of([[1.0, 1.0, 0.0], [1.0, -1.0, 0.0]]))["layers.0.weight"][0]
    assert found[:2].tolist() == [math.inf, 0.0]
    assert math.isnan(found[2])


@pytest.mark.parametrize("n", [2, 3, 7, 30])
def test_equal_gradients_have_infinite_ratios_whatever_their_rounding(n):
    for g in draws(1, 40)[0]:
        risk = twin.risk_of(np.repeat([[g, -g]], n, axis=0))
        assert gsnr(risk)["layers.0.weight"].flatten().tolist() == [math.inf] * 2


def test_large_ratios_are_as_exact_in_float32():
    """Gradients that differ in their third digit: a difference of sums would show two of it."""
    g = (1 + 3e-3 * draws(12, 4)).astype(np.float32).astype(np.float64)
    twice = twin.risk_of(g)
    risk = gengap.Risk(twice.model, twice.split, loss=twin.output_itself, dtype=torch.float32)
    wanted = np.square(g.mean(0)) / g.var(0)
    assert wanted.min() > 1e4
    np.testing.assert_allclose(gsnr(risk)["layers.0.weight"].flatten(), wanted, rtol=1e-5)
    assert gsnr(risk[:1], unbiased=True)["layers.0.weight"].isnan().all()


def test_a_parameter_with_a_large_ratio_is_taken_apart_from_the_others(risk):
    """Of one class whose output is far below: all want the same of the last bias."""
    model = risk.model
    with torch.no_grad():
        list(model.parameters())[-1].add_(torch.tensor([12.0, 0.0, -12.0]))
    found, gradients = gsnr(gengap.Risk(model, risk.split[risk.split.targets == 2])), {}
    last = list(found)[-1]
    assert found[last].max() > 1e4
    gradients = twin.stacked(gengap.Risk(model.double(), risk.split[risk.split.targets == 2]))
    for name, g in gradients.items():
        alive = g.var(0) > 0
        ratio = np.square(g.mean(0)[alive]) / g.var(0)[alive]
        np.testing.assert_allclose(found[name].flatten()[alive], ratio, rtol=1e-2, atol=1e-6)


def test_stiffness_is_the_mean_over_pairs():
    g = draws(8, 3)
    pairs = list(itertools.permutations(range(8), 2))
    norms = np.linalg.norm(g, axis=1)
    cosines = {(i, j): g[i] @ g[j] / norms[i] / norms[j] for i, j in pairs}
    assert stiffness(gram_of(g)) == pytest.approx(np.mean(list(cosines.values())))
    signs = np.mean([np.sign(value) for value in cosines.values()])
    assert stiffness(gram_of(g), kind="sign") == pytest.approx(signs)
    groups = ["a"] * 3 + ["b"] * 4 + ["c"]
    found = stiffness_between(gram_of(g), groups)
    for a, b in itertools.product("abc", "abc"):
        own = [v for (i, j), v in cosines.items() if (groups[i], groups[j]) == (a, b)]
        assert found.loc[a, b] == pytest.approx(np.mean(own) if own else math.nan, nan_ok=True)
    own = stiffness_between(gram_of(g), [0] * 8, kind="sign")
    assert own.loc[0, 0] == pytest.approx(signs)


def test_stiffness_is_unbiased_coherence_where_norms_are_equal():
    g = draws(10, 4)
    g /= np.linalg.norm(g, axis=1, keepdims=True)
    found = gengap.coherence(twin.risk_of(g)).unbiased_alpha
    assert stiffness(gram_of(g)) == pytest.approx(found)
    zero = np.concatenate([g, np.zeros((1, 4))])
    assert stiffness(gram_of(zero)) == pytest.approx(found * 90 / 110)


@quick
@given(SAMPLES)
def test_confusion_is_the_worst_pair(g):
    pairs = [float(g[i] @ g[j]) for i, j in itertools.combinations(range(len(g)), 2)]
    gram = gram_of(g)
    assert gradient_confusion(gram) == pytest.approx(min(pairs), abs=1e-12)
    assert -1 <= gradient_confusion(gram, kind="cosine") <= 1
    assert gradient_confusion(gram, kind="cosine") <= stiffness(gram) + 1e-12
    torch.testing.assert_close(gram, gram_of(g), rtol=0, atol=0)


def test_a_gram_matrix_of_another_shape_is_told():
    with pytest.raises(ValueError, match=r"at least two gradients, shape \[n, n\]; got .*\(3, 2\)"):
        stiffness(torch.ones(3, 2))
    with pytest.raises(ValueError, match="at least two gradients"):
        gradient_confusion(torch.ones(1, 1))
    with pytest.raises(ValueError, match="`kind` must be one of 'cosine', 'sign'"):
        stiffness(torch.ones(2, 2), kind="dot")


def test_disparity_is_the_distance_of_batch_gradients():
    g = draws(15, 4)
    order = torch.randperm(15, generator=gengap._streams.streams(4)("disparity")).numpy()
    means = g[order[:12]].reshape(3, 4, 4).mean(1)
    pairs = itertools.combinations(means, 2)
    wanted = np.mean([np.linalg.norm(a - b) for a, b in pairs])
    found = gradient_disparity(twin.risk_of(g), batch_size=4, num_batches=3, seed=4)
    assert found == pytest.approx(wanted)
    with pytest.raises(ValueError, match="at most the 15 examples; got 4 times 5"):
        gradient_disparity(twin.risk_of(g), batch_size=4)


def test_disparity_is_bounded_by_the_noise():
    risk = twin.risk_of(draws(400, 6) + 2)
    variance = 6.0
    found = [
        gradient_disparity(risk, batch_size=10, num_batches=5, seed=seed) ** 2 for seed in range(60)
    ]
    assert np.mean(found) <= 2 * variance / 10
    assert np.mean(found) == pytest.approx(2 * variance / 10, rel=0.2)
    same = twin.risk_of(np.ones((10, 3)))
    assert gradient_disparity(same, batch_size=2) == pytest.approx(0, abs=1e-12)


@pytest.mark.global_rng("torch")
@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        (torch.bfloat16, 1.0),
        (torch.float16, 30.0),  # squares overflow
        (torch.float16, 1e-4),  # and underflow
        (torch.float32, 1e24),
        (torch.float32, 1e-21),
    ],
)
def test_ratios_where_squares_leave_the_range_of_the_type(dtype, scale):
    """Of gradients 2 w - 2 y at w = 0, whose squares no number of the type may hold."""
    y = (torch.randn(200, 1, generator=torch.Generator().manual_seed(0)) + 1) * scale
    model = torch.nn.Linear(1, 1, bias=False, dtype=dtype)
    torch.nn.init.zeros_(model.weight)
    split = gengap.data.Split(inputs=torch.ones(200, 1), targets=y)
    found = gsnr(gengap.Risk(model, split, loss="squared_error", dtype=dtype))["weight"].item()
    g = y.to(dtype).double()
    wanted = float(g.mean() ** 2 / g.var(correction=0))
    assert found == pytest.approx(wanted, rel=0.02 if dtype == torch.bfloat16 else 2e-3)


@pytest.mark.global_rng("torch")
@pytest.mark.parametrize(
    ("dtype", "x", "y"),
    [
        (torch.float16, [1, 1], [1e-4, -1e-4]),  # squares are 0 in this type, and so is the sum
        (torch.float32, [1, 1], [1e-23, -1e-23]),
        (torch.bfloat16, [1, 1], [1e-30, -1e-30]),
        (torch.float32, [1e6, 1.2e6, 0.9e6, 1.1e6], [1e-23, 3e-23, -2.5e-23, 1.7e-23]),
        (torch.float32, [1e10, 1e10, 1e-11, 1e-11], [1e-23, -1e-23, 1e-3, 1e-3]),
    ],
)
def test_ratios_where_the_square_of_a_factor_leaves_the_range_of_the_type(dtype, x, y):
    x, y = (torch.tensor(values, dtype=torch.float32)[:, None].to(dtype) for values in (x, y))
    model = torch.nn.Linear(1, 1, bias=False, dtype=dtype)
    torch.nn.init.zeros_(model.weight)
    split = gengap.data.Split(inputs=x, targets=y)
    found = gsnr(gengap.Risk(model, split, loss="squared_error", dtype=dtype))["weight"].item()
    g = x.double() * y.double()
    assert found == pytest.approx(float(g.mean() ** 2 / g.var(correction=0)), rel=1e-5, abs=1e-9)
