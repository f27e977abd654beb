"""Closed form and property: the stability bound of a trajectory.

Oracle: the theorem's sum, term by term; a geometric series; the recursion of its proof; and a
real gap below the bound, for a mean estimated by gradient descent.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from gengap.gradients import (
    alphas_at_every_step,
    stability_bound,
    stability_bound_decaying_step,
    stability_bound_fixed_step,
)

ALPHAS = st.lists(st.floats(0, 1), min_size=1, max_size=12)
quick = settings(max_examples=40, deadline=None)


def by_recursion(alphas, rates, *, lipschitz, smoothness, n):
    """The distance of two runs, step by step as in the proof, times L."""
    distance = 0.0
    for alpha, rate in zip(alphas, rates, strict=True):
        distance *= 1 + rate * smoothness
        distance += rate / n * lipschitz * math.sqrt(2 * (1 - alpha))
    return lipschitz * distance


@quick
@given(ALPHAS, st.floats(0, 2), st.floats(0.1, 5), st.floats(0, 3), st.integers(1, 100))
def test_it_is_the_recursion_of_the_proof(alphas, rate, lipschitz, smoothness, n):
    rates = [rate / (1 + t % 3) for t in range(len(alphas))]
    given_ = {"lipschitz": lipschitz, "smoothness": smoothness, "n": n}
    found = stability_bound(alphas, rates, **given_)
    assert found.value == pytest.approx(by_recursion(alphas, rates, **given_), rel=1e-10)
    assert float(found) == found.value == pytest.approx(float(found.terms.sum()))


@quick
@given(ALPHAS, st.floats(0, 2), st.floats(0, 3))
def test_the_corollaries_are_looser(alphas, rate, smoothness):
    given_ = {"lipschitz": 1.5, "smoothness": smoothness, "n": 7}
    steps = len(alphas)
    fixed = stability_bound(alphas, [rate] * steps, **given_).value
    assert fixed <= stability_bound_fixed_step(alphas, rate, **given_).value * (1 + 1e-12)
    decaying = stability_bound(alphas, [rate / t for t in range(1, steps + 1)], **given_).value
    assert decaying <= stability_bound_decaying_step(alphas, rate, **given_).value * (1 + 1e-12)


def test_constant_coherence_gives_series_that_have_a_sum():
    alphas, given_ = [0.5] * 20, {"lipschitz": 2.0, "smoothness": 3.0, "n": 10}
    growth = 1.3
    wanted = 4 / 10 * 0.1 * (growth**20 - 1) / (growth - 1)
    assert stability_bound(alphas, [0.1] * 20, **given_).value == pytest.approx(wanted)
    e = math.exp(0.3)
    wanted = 4 * 0.1 / 10 * (e**20 - 1) / (e - 1)
    assert stability_bound_fixed_step(alphas, 0.1, **given_).value == pytest.approx(wanted)
    wanted = 4 * 0.1 * 20**0.3 / 10 * 20
    assert stability_bound_decaying_step(alphas, 0.1, **given_).value == pytest.approx(wanted)


def test_full_coherence_leaves_no_gap_and_low_coherence_costs_most_early():
    given_ = {"lipschitz": 1.0, "smoothness": 1.0, "n": 5}
    assert stability_bound([1.0, 1.0], [0.1, 0.1], **given_).value == 0
    early = stability_bound([0.0, 1.0, 1.0], [0.1] * 3, **given_)
    late = stability_bound([1.0, 1.0, 0.0], [0.1] * 3, **given_)
    assert early.value > late.value
    assert early.terms[1:].tolist() == [0.0, 0.0]
    assert repr(late) == "StabilityBound(0.02828, steps=3)"


def test_estimates_below_0_and_rounding_above_1_are_clipped_and_overflow_is_infinite():
    given_ = {"lipschitz": 1.0, "n": 5}
    inside = stability_bound([0.0, 1.0], [0.1, 0.1], smoothness=1.0, **given_)
    outside = stability_bound([-0.2, 1.00001], [0.1, 0.1], smoothness=1.0, **given_)
    assert inside.value == outside.value
    assert stability_bound([0.0] * 900, [1.0] * 900, smoothness=9.0, **given_).value == math.inf


def test_steps_that_add_nothing_add_nothing_whatever_follows():
    """A warm-up from 0, full coherence, no steps at all: 0 times an infinite growth is 0."""
    given_ = {"lipschitz": 1.0, "smoothness": 100.0, "n": 50_000}
    warm = stability_bound([0.2] * 400, [0.0] + [0.1] * 399, **given_)
    assert warm.value == math.inf and warm.terms[0] == 0
    first = stability_bound([1.0] + [0.2] * 399, [0.1] * 400, **given_)
    assert first.value == math.inf and first.terms[0] == 0
    assert stability_bound([1.0] * 400, [0.1] * 400, **given_).value == 0
    for bound in (stability_bound_fixed_step, stability_bound_decaying_step):
        assert bound([1.0] * 4000, 10.0, **given_).value == 0
        assert bound([0.5] * 4000, 10.0, **given_).value == math.inf
        assert bound([0.5] * 4000, 0.0, **given_).value == 0


def test_it_holds_for_a_mean_that_gradient_descent_estimates():
    """Loss (w - z)^2 / 2 for z = +-1: gap, L, beta and the coherence at w are known exactly."""
    n, rate, steps, generator = 5, 0.2, 10, np.random.default_rng(0)
    z = generator.choice([-1.0, 1.0], size=(20_000, n))
    w = np.zeros(len(z))
    for _ in range(steps):
        w -= rate * (w - z.mean(1))
    gap = ((w**2 + 1) / 2 - ((w[:, None] - z) ** 2).mean(1) / 2).mean()
    coherence_is_least = [0.0] * steps
    found = stability_bound(coherence_is_least, [rate] * steps, lipschitz=2.0, smoothness=1.0, n=n)
    assert gap == pytest.approx((1 - (1 - rate) ** steps) / n, rel=0.03)
    assert 0 < gap < found.value


def test_measurements_now_and_then_are_held():
    found = alphas_at_every_step([0, 2, 5], [0.1, 0.2, 0.3], num_steps=7)
    assert found.tolist() == [0.1, 0.1, 0.2, 0.2, 0.2, 0.3, 0.3]
    assert alphas_at_every_step([0, 9], [0.1, 0.2], num_steps=2).tolist() == [0.1, 0.1]
    for steps in ([1, 2], [0, 0], [0]):
        with pytest.raises(ValueError, match="`steps` must rise from 0"):
            alphas_at_every_step(steps, [0.1, 0.2], num_steps=3)


def test_wrong_trajectories_are_told():
    given_ = {"lipschitz": 1.0, "smoothness": 1.0, "n": 5}
    with pytest.raises(ValueError, match="for each of the 2 steps"):
        stability_bound([0.1, 0.2], [0.1], **given_)
    with pytest.raises(ValueError, match="a finite number for every step"):
        stability_bound([math.nan], [0.1], **given_)
    with pytest.raises(ValueError, match="`lipschitz` must be positive"):
        stability_bound_fixed_step([0.1], 0.1, lipschitz=0.0, smoothness=1.0, n=5)
    assert stability_bound(torch.tensor([0.5]), torch.tensor([0.0]), **given_).value == 0


def test_a_bound_is_finite_where_its_growth_alone_is_not():
    found = stability_bound_fixed_step([0.0] * 2, 1.0, lipschitz=1e-10, smoothness=740.0, n=1)
    expected = math.log(2**0.5 * 1e-20) + 740
    assert math.log(found.value) == pytest.approx(expected, rel=1e-12)


def test_an_m_coherence_is_not_taken_for_an_alpha():
    """Clipped to 1 it would say that there is no gap."""
    given_ = {"lipschitz": 1.0, "smoothness": 1.0, "n": 50}
    with pytest.raises(ValueError, match="`alphas` must be at most 1; got 23"):
        stability_bound([23.0, 0.5], [0.1, 0.1], **given_)
    with pytest.raises(ValueError, match="take `unbiased_alpha`"):
        stability_bound_fixed_step([2.0], 0.1, **given_)
