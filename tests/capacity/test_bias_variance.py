"""Closed form: the mean of a sample as predictor, whose bias and variance are known; Monte Carlo.

Oracle: variance of a mean of n values, ordinary least squares, made-up predictions with known
parts, and the law of total variance.
"""

import math

import pytest
import torch
from torch import nn

from gengap import Recipe, models
from gengap.capacity import BiasVariance, bias_variance, bias_variance_curve
from gengap.data import Split
from gengap.training import Packing

TOGETHER = Packing(64, 1, "A test.")


def test_the_mean_of_a_sample_has_the_variance_of_a_mean():
    g = torch.Generator().manual_seed(0)
    y = 2.0 * torch.randn(40 * 8, 1, generator=g, dtype=torch.float64) + 1
    one = torch.ones(len(y), 1, dtype=torch.float64)
    test = Split(inputs=one[:3], targets=torch.full((3, 1), 4.0, dtype=torch.float64))
    recipe = Recipe(epochs=40, batch_size=8, lr=0.5, momentum=0.0, loss="squared_error")
    found = bias_variance(
        lambda: nn.Linear(1, 1, bias=False, dtype=torch.float64),
        Split(inputs=one, targets=y), test, examples=8, sets=40, seeds=1, recipe=recipe,
        packing=TOGETHER,
    )  # fmt: skip
    order = 4.0 / 8
    error = found.standard_error
    assert abs(found.variance - order) < 3 * error[1] and error[1] < 0.25
    assert abs(found.bias_squared - 9.0) < 3 * error[0]
    assert found.risk == pytest.approx(found.bias_squared + found.variance)
    assert math.isnan(found.variance_over_seeds)
    assert found.parameters == 1 and found.examples == 8


def made_up(sets, seeds, *, between, within, bias, n=4, seed=0):
    g = torch.Generator().manual_seed(seed)
    a = between * torch.randn(sets, 1, n, 2, generator=g, dtype=torch.float64)
    b = within * torch.randn(sets, seeds, n, 2, generator=g, dtype=torch.float64)
    targets = torch.zeros(n, 2, dtype=torch.float64)
    return BiasVariance(predictions=a + b + bias, targets=targets, parameters=1, examples=1)


def test_parts_are_those_of_the_made_up_predictions():
    found = made_up(4000, 3, between=0.5, within=1.0, bias=2.0)
    assert found.variance_over_sets == pytest.approx(2 * 0.25, rel=0.1)
    assert found.variance_over_seeds == pytest.approx(2 * 1.0, rel=0.05)
    assert found.bias_squared == pytest.approx(2 * 4.0, rel=0.05)


def test_estimates_from_few_sets_have_no_bias_and_an_honest_error():
    true = 2 * (0.25 + 1.0)
    trials = [made_up(5, 2, between=0.5, within=1.0, bias=2.0, seed=k) for k in range(300)]
    variances = torch.tensor([t.variance for t in trials])
    biases = torch.tensor([t.bias_squared for t in trials])
    assert abs(float(variances.mean()) - true) < 3 * float(variances.std()) / 300**0.5
    assert abs(float(biases.mean()) - 8) < 3 * float(biases.std()) / 300**0.5
    told = torch.tensor([t.standard_error for t in trials]).square().mean(0).sqrt()
    assert float(told[1]) == pytest.approx(float(variances.std()), rel=0.25)
    assert float(told[0]) == pytest.approx(float(biases.std()), rel=0.25)


def blobs(n, seed):
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    x = torch.nn.functional.one_hot(y, 4).float() + 0.8 * torch.randn(n, 4, generator=g)
    return Split(inputs=x, targets=y, num_classes=3)


def test_a_curve_over_widths_is_a_row_a_network():
    builders = [(w, lambda w=w: models.mlp((4,), 3, hidden=(w,))) for w in (2, 16)]
    how = {"examples": 20, "sets": 3, "seeds": 2, "recipe": Recipe(epochs=5, lr=0.1, batch_size=10)}
    frame = bias_variance_curve(builders, blobs(60, 0), blobs(30, 1), **how)
    assert list(frame["name"]) == [2, 16]
    assert list(frame["parameters"]) == [4 * w + w + 3 * w + 3 for w in (2, 16)]
    assert (frame["ratio"] == frame["parameters"] / 20).all()
    total = frame["bias_squared"] + frame["variance"]
    assert frame["risk"].tolist() == pytest.approx(total.tolist())
    one = bias_variance(builders[0][1], blobs(60, 0), blobs(30, 1), **how)
    assert one.risk == pytest.approx(frame["risk"][0])
    assert one.predictions.sum(-1).allclose(torch.ones(3, 2, 30, dtype=torch.float64))
    assert "squared bias" in one.sentence and "sets=3" in repr(one)


def test_what_cannot_be_is_one_sentence():
    build = lambda: models.linear((4,), 3)  # noqa: E731
    with pytest.raises(ValueError, match="5 disjoint sets of 20 examples, 100; got 60"):
        bias_variance(build, blobs(60, 0), blobs(6, 1), examples=20)
    with pytest.raises(ValueError, match="`sets` must be a whole number of at least 2"):
        bias_variance(build, blobs(60, 0), blobs(6, 1), examples=20, sets=1)
