"""Property: the theorems of coherence, and the coverage of its standard error.

Oracle: the theorems T1 to T7 on drawn vectors, which a linear model has as its gradients;
simulation from distributions of known alpha.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings, strategies as st
from hypothesis.extra.numpy import arrays

import gengap
from gengap.data import Split
from gengap.gradients import (
    CoherenceMeter,
    alpha_of_batches,
    alpha_of_examples,
    coherence_from_batches,
    gradient_statistics,
    gram,
)
from gengap.gradients._sample_coherence import jackknife_error, sample_unbiased_alpha
from tests.reference import coherence as twin

NUMBERS = st.floats(-8, 8).map(lambda x: round(x, 3))
quick = settings(max_examples=40, deadline=None)


def samples(least=1):
    shapes = st.tuples(st.integers(least, 7), st.integers(1, 5))
    return arrays(float, shapes, elements=NUMBERS).filter(lambda g: np.square(g).sum() > 1e-3)


def measured(g, **more):
    return gengap.coherence(twin.risk_of(g, **more), standard_errors=False)


@quick
@given(samples())
def test_it_lies_between_0_and_1_and_agrees_with_the_definition(g):
    found = measured(g)
    assert 0 <= found.alpha <= 1
    assert 0 <= found.m_coherence <= found.n
    assert found.alpha == pytest.approx(twin.alpha(g), abs=1e-12)
    assert found.m_coherence == pytest.approx(len(g) * found.alpha)


@quick
@given(samples())
def test_it_is_1_for_equal_vectors_and_0_for_opposite_ones(g):
    assume(np.square(g[:1]).sum() > 1e-3)
    same = np.repeat(g[:1], 5, axis=0)
    assert measured(same).alpha == pytest.approx(1)
    assert measured(same).unbiased_alpha == pytest.approx(1)
    assert measured(np.concatenate([g, -g])).alpha == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("power", [-20, 0, 8, 16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_example_whose_others_cancel_has_nothing_in_common(dtype, power):
    """With a zero, and with two that are opposite; in any unit, of any draw."""
    for seed in range(20):
        g, h = np.random.default_rng(seed).normal(size=(2, 1, 50)) * 2.0**power
        for rows in ([g, 0 * g], [g, h, -h]):
            risk = twin.risk_of(np.concatenate(rows).astype(np.float32), dtype=dtype)
            assert gengap.coherence(risk).per_example[0] == 0


def test_rounding_carries_no_number_out_of_its_range():
    for seed in range(40):
        g = np.random.default_rng(seed).normal(size=(1, 7))
        for dtype in (torch.float32, torch.float64):
            risk = twin.risk_of(np.repeat(g, 9, axis=0), dtype=dtype)
            found = gengap.coherence(risk, groups=[0] * 4 + [1] * 5)
            assert max(found.alpha, found.unbiased_alpha) <= 1
            assert (found.per_group[["alpha", "unbiased_alpha"]] <= 1).all(axis=None)
            assert gradient_statistics(risk).m_coherence <= 9
        batches = coherence_from_batches([{"w": torch.from_numpy(g[0])}] * 9, batch_size=4)
        assert max(batches.batch_alpha, batches.unbiased_alpha, batches.inverted_alpha) <= 1
        alpha_of_examples(batches.batch_alpha, 4)


@pytest.mark.parametrize("longer", [1e2, 1e4, 1e6])
def test_what_one_long_gradient_hides_is_told_in_float64_only(longer):
    g = np.random.default_rng(0).normal(size=(100, 6)) + 1
    g[3] *= longer
    exact = gengap.coherence(twin.risk_of(g))
    assert exact.standard_error == pytest.approx(twin.jackknife_error(g), rel=1e-2)
    others = np.delete(g, 3, axis=0).sum(0)
    cosine = g[3] @ others / np.linalg.norm(g[3]) / np.linalg.norm(others)
    assert float(exact.per_example[3]) == pytest.approx(cosine, rel=1e-3)
    risk = twin.risk_of(g)
    single = gengap.Risk(risk.model, risk.split, loss=risk.loss, dtype=torch.float32)
    found = gengap.coherence(single, groups=[0] * 100)
    hidden = longer > 1e3
    group = found.groups.frame.loc[0, "standard_error"]
    assert math.isnan(found.standard_error) == math.isnan(group) == hidden
    assert found.per_example.isnan().tolist() == [hidden and i == 3 for i in range(100)]
    if not hidden:
        assert found.standard_error == pytest.approx(exact.standard_error, rel=0.05)
        assert float(found.per_example[3]) == pytest.approx(cosine, rel=0.05)


@quick
@given(samples(2), st.sampled_from([-3.0, 0.01, 1e3]))
def test_neither_scale_nor_order_counts(g, scale):
    found = gengap.coherence(twin.risk_of(g))
    other = gengap.coherence(twin.risk_of(scale * g[::-1]))
    assert other.alpha == pytest.approx(found.alpha, abs=1e-12)
    assert other.unbiased_alpha == pytest.approx(found.unbiased_alpha, rel=1e-9, abs=1e-12)
    np.testing.assert_allclose(other.per_example.flip(0), found.per_example, atol=1e-6)


@quick
@given(samples(), st.integers(1, 6))
def test_zero_vectors_dilute_it(g, zeros):
    diluted = np.concatenate([g, np.zeros((zeros, g.shape[1]))])
    share = len(g) / len(diluted)
    assert measured(diluted).alpha == pytest.approx(share * measured(g).alpha)
    assert measured(diluted).m_coherence == pytest.approx(measured(g).m_coherence)


@quick
@given(samples(), samples())
def test_a_mixture_with_what_is_orthogonal_is_at_most_the_mean(g, h):
    mixed = np.zeros((len(g) + len(h), g.shape[1] + h.shape[1]))
    mixed[: len(g), : g.shape[1]], mixed[len(g) :, g.shape[1] :] = g, h
    p = len(g) / len(mixed)
    assert measured(mixed).alpha <= p * measured(g).alpha + (1 - p) * measured(h).alpha + 1e-12


@quick
@given(samples(2))
def test_it_bounds_the_mean_distance_of_two(g):
    distances = [np.linalg.norm(a - b) for a in g for b in g]
    squared = np.square(g).sum(1).mean()
    bound = math.sqrt(max(0, 2 * (1 - measured(g).alpha) * squared))
    assert np.mean(distances) <= bound + 1e-7
    assert np.mean(np.square(distances)) == pytest.approx(bound**2, rel=1e-9, abs=1e-9)


@quick
@given(arrays(float, st.tuples(st.integers(2, 6), st.just(7)), elements=NUMBERS))
def test_the_layers_add_up_weighted_by_their_share_of_the_norm(g):
    blocks = [g[:, :2], g[:, 2:3], g[:, 3:]]
    assume(all(np.square(block).sum() > 1e-3 for block in blocks))
    found = measured(g, widths=[2, 1, 4])
    layers = found.per_layer
    assert layers["norm_share"].sum() == pytest.approx(1)
    for column in ("alpha", "m_coherence", "unbiased_alpha"):
        mean = (layers["norm_share"] * layers[column]).sum()
        assert mean == pytest.approx(getattr(found, column), rel=1e-9, abs=1e-10)
    for name, block in zip(layers.index, blocks, strict=True):
        assert layers.loc[name, "alpha"] == pytest.approx(twin.alpha(block), abs=1e-12)


@quick
@given(samples(2), st.integers(2, 3))
def test_the_minibatch_theorem_over_every_possible_batch(g, k):
    """Batches of k drawn with replacement: all n^k of them, so that nothing is left to chance."""
    g = g[:5]
    assume(np.square(g).sum() > 1e-3)
    rows = np.stack(np.meshgrid(*[np.arange(len(g))] * k), -1).reshape(-1, k)
    batches, alpha = measured(g[rows].mean(1)).alpha, measured(g).alpha
    assert batches == pytest.approx(alpha_of_batches(alpha, k), abs=1e-9)
    assert batches >= alpha - 1e-12
    assert alpha_of_examples(batches, k) == pytest.approx(alpha, abs=1e-9)


@given(st.floats(0, 1), st.integers(1, 10_000))
def test_the_inversion_undoes_the_theorem(alpha, k):
    rounding = 1e-15 * k  # the inversion has a slope of up to k
    back = alpha_of_examples(alpha_of_batches(alpha, k), k)
    assert back == pytest.approx(alpha, abs=4 * rounding)


def test_the_floor_is_what_unrelated_gradients_have_on_average():
    generator = np.random.default_rng(0)
    found = [measured(generator.normal(size=(8, 5000))) for _ in range(40)]
    assert np.mean([one.alpha for one in found]) == pytest.approx(found[0].floor, rel=0.01)
    assert np.mean([one.unbiased_alpha for one in found]) == pytest.approx(0, abs=0.0015)


def simulated(*, n, p, alpha, runs=1500, spread=0.0):
    """Estimates and standard errors over fresh samples of a Gaussian of this alpha."""
    generator = np.random.default_rng(0)
    mean = np.zeros(p)
    mean[0] = math.sqrt(p * alpha / (1 - alpha))
    values, errors = [], []
    for _ in range(runs):
        g = mean + generator.normal(size=(n, p))
        g *= np.exp(spread * generator.normal(size=(n, 1)))
        total = g.sum(0)
        squares, dots = torch.from_numpy(np.square(g).sum(1)), torch.from_numpy(g @ total)
        of_sum = float(total @ total)
        values.append(sample_unbiased_alpha(of_sum, float(squares.sum()), n))
        errors.append(jackknife_error(of_sum, squares, dots))
    return np.array(values), np.array(errors)


@pytest.mark.parametrize(
    ("n", "p", "alpha", "factor", "covered"),
    [
        (30, 20, 0.1, 1.07, (0.94, 0.98)),
        (200, 20, 0.1, 1.0, (0.935, 0.965)),
        (200, 50, 0.01, 1.1, (0.95, 0.985)),
        (30, 50, 0.0, math.sqrt(2), (0.97, 1.0)),
    ],
)
def test_the_standard_error_covers_and_is_too_large_where_nothing_is_in_common(
    n, p, alpha, factor, covered
):
    values, errors = simulated(n=n, p=p, alpha=alpha)
    assert values.mean() == pytest.approx(alpha, abs=4 * values.std() / math.sqrt(len(values)))
    assert errors.mean() / values.std() == pytest.approx(factor, rel=0.06)
    share = (np.abs(values - alpha) < 1.96 * errors).mean()
    assert covered[0] <= share <= covered[1]


def test_the_standard_error_covers_less_where_norms_spread_over_orders_of_magnitude():
    values, errors = simulated(n=200, p=20, alpha=0.2, spread=1.0)
    alpha = 0.2 / math.e
    share = (np.abs(values - alpha) < 1.96 * errors).mean()
    assert 0.8 <= share <= 0.88


@pytest.mark.global_rng("torch")
@pytest.mark.parametrize("scale", [1e-30, 1e-24, 1e-21, 1e10, 1e19, 1e28])
def test_float32_gradients_of_any_size_cohere_alike(scale):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 3, generator=generator)
    y = torch.randn(8, 2, generator=generator)
    model = torch.nn.Linear(3, 2, bias=False)
    torch.nn.init.zeros_(model.weight)
    found = []
    for size in (1.0, scale):
        split = Split(inputs=size * x, targets=y, num_classes=None)
        risk = gengap.Risk(model, split, loss="squared_error")
        whole = gengap.coherence(risk)
        with CoherenceMeter(model) as meter:
            (model(size * x) - y).square().mean().backward()
            metered = meter.read().m_coherence
        between = gram(risk)
        root = between.diagonal().sqrt()
        cosines = (between / root / root[:, None]).flatten()
        found.append([
            *(whole.m_coherence, whole.standard_error, metered),
            *whole.per_example.tolist(),
            *cosines.tolist(),
        ])
    assert found[1] == pytest.approx(found[0], rel=1e-4, abs=1e-5)
