"""Closed form: random signs on linear classes, whose supremum is known; property: networks.

Oracle: dual norms by hand, sums over all signs, orthonormal examples; a network that cannot fit.
"""

import itertools
import math

import pytest
import torch
from torch import nn

from gengap import models
from gengap.capacity import (
    NormBall,
    Rademacher,
    bounded,
    linear_complexity,
    linear_supremum,
    rademacher,
)
from gengap.data import as_split
from gengap.training import Packing, Recipe

NORMS = (1.0, 2.0, math.inf)
TOGETHER = Packing(64, 1, "A test.")


def examples(n, d, seed=0):
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    return x, as_split(x, torch.zeros(n, 1), regression=True)


def line(d, norm=2.0, radius=1.5):
    return bounded(nn.Sequential(nn.Linear(d, 1, bias=False)), radius=radius, norm=norm)


@pytest.mark.parametrize("norm", NORMS)
def test_the_supremum_is_that_of_the_dual_norm(norm):
    x, _ = examples(5, 3)
    total, by_hand = (
        0.0,
        {1.0: lambda v: v.abs().max(), 2.0: torch.norm, math.inf: lambda v: v.abs().sum()},
    )
    for signs in itertools.product((-1, 1), repeat=5):
        v = sum(s * row for s, row in zip(signs, x.double(), strict=True))
        total += 1.5 * float(by_hand[norm](v)) / 5
    found = linear_complexity(x, radius=1.5, norm=norm)
    assert found.value == pytest.approx(total / 32, rel=1e-9)
    assert found.standard_error == 0 and found.draws == 32 and found.value <= found.upper


def test_orthonormal_examples_have_a_closed_form():
    found = linear_complexity(torch.eye(40), radius=2.0, draws=50)
    assert found.value == pytest.approx(2 / math.sqrt(40)) == found.upper
    assert found.standard_error == pytest.approx(0, abs=1e-12)
    split = as_split(torch.eye(40), torch.zeros(40, 1), regression=True)
    trained = rademacher(
        lambda: line(40, radius=2.0), split, functions="values", draws=3, packing=TOGETHER
    )
    assert trained.value == pytest.approx(found.value, rel=1e-4)
    assert math.isnan(trained.optimization_gap)


@pytest.mark.parametrize("norm", NORMS)
def test_training_reaches_the_closed_form_within_its_interval(norm):
    x, split = examples(30, 8)

    def exact(signs, inputs):
        return linear_supremum(signs, inputs, radius=1.5, norm=norm)

    found = rademacher(
        lambda: line(8, norm), split, functions="values", draws=24, supremum=exact,
        packing=TOGETHER, seed=0,
    )  # fmt: skip
    closed = linear_complexity(x, radius=1.5, norm=norm, draws=20_000, seed=5)
    low, high = found.interval
    assert low <= closed.value <= high, (found, closed)
    assert (found.correlations <= found.suprema + 1e-6).all()
    assert 0 <= found.optimization_gap + 1e-9 < 0.1 * found.value
    if norm != 1:
        assert found.optimization_gap < 1e-4 * found.value
    assert math.isnan(found.lower)


def test_a_large_network_fits_any_signs_and_a_bound_from_it_is_vacuous():
    _, split = examples(40, 10)
    found = rademacher(lambda: models.mlp((10,), 3, hidden=(64,)), split, draws=3)
    assert found.value == 1 and found.standard_error == 0 and found.optimization_gap == 0
    assert found.vacuous and "vacuous" in found.sentence and found.gap_bound > 1
    assert found.lower == pytest.approx(1 - math.sqrt(2 * math.log(20) / 120))


def test_a_small_network_on_many_examples_cannot():
    _, split = examples(2000, 2)
    found = rademacher(
        lambda: models.linear((2,), 2), split, draws=3, recipe=Recipe(epochs=3, lr=0.1)
    )
    assert 0 < found.value < 0.15 and found.standard_error > 0
    assert found.optimization_gap == pytest.approx(1 - found.value)
    assert not found.vacuous and "it is not vacuous" in found.sentence
    assert found.lower < found.value


def test_labels_do_not_matter_and_draws_are_seeded():
    x, split = examples(20, 4)
    other = as_split(x, torch.arange(20) % 5)
    recipe = Recipe(epochs=4, lr=0.05)
    build = lambda: models.mlp((4,), 5, hidden=(8,))  # noqa: E731
    first, second = (rademacher(build, s, draws=2, recipe=recipe) for s in (split, other))
    assert torch.equal(first.correlations, second.correlations)
    moved = rademacher(build, split, draws=2, recipe=recipe, seed=9)
    assert not torch.equal(first.correlations, moved.correlations)
    assert isinstance(first, Rademacher) and "n=20" in repr(first)


@pytest.mark.parametrize("norm", NORMS)
def test_a_ball_holds_its_weights(norm):
    w = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    held = NormBall(0.5, norm)(10 * w)
    assert torch.linalg.vector_norm(held, ord=norm) == pytest.approx(0.5, rel=1e-6)
    assert torch.equal(NormBall(1e3, norm)(w), w)


def test_what_cannot_be_is_one_sentence():
    _, split = examples(6, 3)
    with pytest.raises(ValueError, match="two outputs or more for functions='signs'"):
        rademacher(lambda: nn.Linear(3, 1), split)
    with pytest.raises(ValueError, match="one output for functions='values'"):
        rademacher(lambda: nn.Linear(3, 2), split, functions="values")
    with pytest.raises(ValueError, match="takes examples of shape"):
        rademacher(lambda: nn.Linear(4, 2), split)
    with torch.random.fork_rng(devices=[]):
        biased = nn.Linear(3, 1)
    with pytest.raises(ValueError, match="without bias, which no ball holds"):
        bounded(biased)
    with pytest.raises(ValueError, match="Linear or Conv layer; got none"):
        bounded(nn.ReLU())
    with pytest.raises(ValueError, match="`norm` must be one of"):
        linear_complexity(torch.ones(2, 2), norm=3.0)
