"""Invariance and closed form: the least trace over the rescalings of a network.

Oracle: the value itself under rescalings over ten decades; the minimum of two-layer networks in
closed form; the trace of the dense float64 Hessian; a grid search.
"""

import pytest
import torch
from torch import nn

import gengap
from gengap._streams import own_draws
from gengap.symmetries import find, orbit_minimum, rescale
from gengap.symmetries._balance import balance
from tests.reference.dense_curvature import dense_gauss_newton, dense_hessian
from tests.symmetries import user_models as users

pytestmark = pytest.mark.global_rng("torch")


def trained(build, *, n=100, steps=60, rate=0.3):
    split = gengap.load("digits")[0][:n]
    with own_draws(0):
        model = build(split)
    model = model.double().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    x, y = split.inputs.double(), split.targets
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model.eval(), split


def perceptron(split):
    return gengap.models.mlp(split.input_shape, 10, hidden=(12, 8))


class Convolutional(nn.Module):
    def __init__(self, _split):
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 3, 3, stride=2), nn.Conv2d(3, 4, 2)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = torch.relu(self.two(torch.relu(self.one(x))))
        return self.head(x.flatten(1))


@pytest.mark.parametrize("build", [perceptron, Convolutional])
def test_twenty_rescalings_over_ten_decades_have_one_least_trace(build):
    model, split = trained(build)
    found = find(model, split)
    least = orbit_minimum("trace", gengap.Risk(model, split), symmetries=found)
    assert least.converged and least.convex and least.held == 0
    values = []
    for seed in range(20):
        other = rescale(model, 1e5, symmetries=found, seed=seed, example_inputs=split)
        values.append(orbit_minimum("trace", gengap.Risk(other, split)).value)
    assert max(abs(v / least.value - 1) for v in values) < 1e-9


def test_single_precision_suffices():
    model, split = trained(perceptron)
    least = orbit_minimum("trace", gengap.Risk(model, split)).value
    for seed in range(3):
        other = rescale(model.float(), 1e5, seed=seed, example_inputs=split)
        value = orbit_minimum("trace", gengap.Risk(other, split)).value
        assert value == pytest.approx(least, rel=1e-4)


@pytest.mark.parametrize("build", [perceptron, Convolutional])
def test_given_and_least_trace_are_those_of_the_dense_hessian(build):
    model, split = trained(build, n=40)
    risk = gengap.Risk(model, split)
    least = orbit_minimum("trace", risk)
    assert least.given == pytest.approx(float(dense_hessian(risk).trace()), rel=1e-8)
    at_least = dense_hessian(gengap.Risk(least.model, split)).trace()
    assert least.value == pytest.approx(float(at_least), rel=1e-8)
    assert least.value < min(least.given, least.balanced)


def test_one_hidden_layer_has_the_closed_form():
    """A unit's traces before and behind it, a and b, give 2 sqrt(a b) at best."""
    model, split = trained(lambda s: gengap.models.mlp(s.input_shape, 10, hidden=(6,)), n=40)
    risk = gengap.Risk(model, split)
    diagonal = dict(
        zip(
            risk.params,
            dense_hessian(risk).diagonal().split([p.numel() for p in risk.params.values()]),
            strict=True,
        )
    )
    before = diagonal["1.weight"].view(6, -1).sum(1) + diagonal["1.bias"]
    behind = diagonal["4.weight"].view(10, 6).sum(0)
    expected = 2 * (before * behind).sqrt().sum() + diagonal["4.bias"].sum()
    assert orbit_minimum("trace", risk).value == pytest.approx(float(expected), rel=1e-8)


def test_a_balanced_network_has_units_as_long_before_as_behind():
    model, split = trained(perceptron)
    found = find(model, split)
    first = None
    for seed in (0, 1):
        other = rescale(model, 1e5, symmetries=found, seed=seed, example_inputs=split)
        log_scales, _ = balance(found, other)
        layers = dict(found.apply(other, log_scales).named_parameters())
        before = layers["1.weight"].square().sum(1) + layers["1.bias"].square()
        torch.testing.assert_close(before, layers["4.weight"].square().sum(0), rtol=1e-6, atol=1e-9)
        first = layers["1.weight"] if first is None else first
        torch.testing.assert_close(layers["1.weight"], first, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["mlp", "resnet"])
def test_with_batch_norm_the_lengths_it_takes_up_are_held(name):
    def build(split):
        if name == "mlp":
            return gengap.models.mlp(split.input_shape, 10, hidden=(8, 6), batch_norm=True)
        return gengap.models.resnet(split.input_shape, 10, depth=8, width=2)

    model, split = trained(build, n=60, steps=20)
    found = find(model, split)
    least = orbit_minimum("trace", gengap.Risk(model, split), symmetries=found)
    assert least.held >= sum(place.units for place in found.rescalings if place.one_sided)
    if name == "mlp":
        balanced = found.apply(model, balance(found, model)[0])
        for layer in (1, 5):
            lengths = balanced[layer].weight.square().sum(1) + balanced[layer].bias.square()
            torch.testing.assert_close(lengths, torch.ones_like(lengths), rtol=1e-8, atol=0)
    for seed in range(3):
        other = rescale(model, 1e4, symmetries=found, seed=seed, example_inputs=split)
        value = orbit_minimum("trace", gengap.Risk(other, split), symmetries=found).value
        assert value == pytest.approx(least.value, rel=1e-6)


class Stream(nn.Module):
    """A residual stream that only a BatchNorm behind it takes up, all of it at once."""

    def __init__(self, _split):
        super().__init__()
        self.stem, self.one, self.two = nn.Linear(64, 5), nn.Linear(5, 4), nn.Linear(4, 5)
        self.norm, self.head = nn.BatchNorm1d(5), nn.Linear(5, 10)

    def forward(self, x):
        x = self.stem(x.flatten(1))
        x = x + self.two(self.one(x).relu())
        return self.head(self.norm(x).relu())


def test_scales_that_are_loose_only_together_are_held_together():
    model, split = trained(Stream, n=40)
    least = orbit_minimum("trace", gengap.Risk(model, split))
    assert (least.moved, least.held) == (5, 9) and least.converged
    assert least.log_scales.abs().max() < 5
    for seed in range(2):
        other = rescale(model, 1e3, seed=seed, example_inputs=split)
        value = orbit_minimum("trace", gengap.Risk(other, split)).value
        assert value == pytest.approx(least.value, rel=1e-6)


FIRST, SECOND, LAST = ("1.weight", "1.bias"), ("4.weight", "4.bias"), ("7.weight", "7.bias")


@pytest.mark.parametrize(
    ("names", "moved"),
    [
        (FIRST, 0),
        (SECOND, 0),
        (LAST, 0),
        (FIRST + SECOND, 0),
        (SECOND + LAST, 5),  # the second layer's biases hold what its units multiply
        (FIRST + LAST, 0),
        (("1.weight", "4.weight", "7.weight"), 11),
        (("1.bias", *SECOND, *LAST), 11),
    ],
)
def test_scales_that_frozen_weights_take_up_are_held(names, moved):
    model, split = trained(lambda s: gengap.models.mlp(s.input_shape, 10, hidden=(6, 5)), rate=0.1)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
    risk = gengap.Risk(model, split)
    least = orbit_minimum("trace", risk)
    assert (least.moved, least.held) == (moved, 11 - moved)
    assert least.converged and least.given > 1e-3
    assert all(p.isfinite().all() and p.abs().max() < 1e2 for p in least.model.parameters())
    trace = float(dense_hessian(gengap.Risk(least.model, split)).trace())
    assert least.value == pytest.approx(trace, rel=1e-8) and least.value <= least.balanced
    for seed in range(2):
        other = rescale(model, 1e3, seed=seed, example_inputs=split)
        value = orbit_minimum("trace", gengap.Risk(other, split)).value
        assert value == pytest.approx(least.value, rel=1e-6)


def test_any_measure_descends_from_there_and_is_invariant():
    model, split = trained(lambda s: gengap.models.mlp(s.input_shape, 10, hidden=(4,)), n=30)

    def top(risk):
        return float(torch.linalg.eigvalsh(dense_hessian(risk))[-1])

    risk = gengap.Risk(model, split)
    least = orbit_minimum(top, risk)
    assert least.value <= least.given and least.value <= least.balanced and not least.convex
    assert least.value == pytest.approx(top(gengap.Risk(least.model, split)), rel=1e-9)
    grid = [
        top(gengap.Risk(rescale(least.model, 2.0**power, example_inputs=split), split))
        for power in (-1.0, -0.3, 0.3, 1.0)
    ]
    assert least.value < min(grid)
    other = rescale(model, 1e5, seed=0, example_inputs=split)
    assert orbit_minimum(top, gengap.Risk(other, split)).value == pytest.approx(
        least.value, rel=1e-6
    )


def brier(z, y):
    return (z.softmax(-1) - torch.eye(z.shape[-1], dtype=z.dtype)[y]).square().sum(-1)


def test_a_loss_that_is_not_convex_in_the_outputs_has_no_least_trace():
    model, split = trained(lambda s: gengap.models.mlp(s.input_shape, 10, hidden=(4,)), n=30)
    risk = gengap.Risk(model, split, loss=brier)
    with pytest.raises(
        ValueError, match=r"convex in the outputs; got -0\.\d+ as .* function of a risk"
    ):
        orbit_minimum("trace", risk)
    least = orbit_minimum(lambda r: 1 + r.params["1.weight"].square().sum(), risk, steps=1)
    assert least.value <= least.given


@pytest.mark.parametrize("factor", [1e3, 1e-12])
def test_a_network_that_is_sure_of_itself_is_not_taken_for_a_loss_that_bends_down(factor):
    model, split = trained(lambda s: gengap.models.mlp(s.input_shape, 10, hidden=(4,)), n=30)
    with torch.no_grad():
        model[-1].weight *= factor  # probabilities of 0 and 1, or all equal
    assert orbit_minimum("trace", gengap.Risk(model, split)).value >= 0


class Beside(nn.Module):
    """A layer whose outputs go on past a BatchNorm as well as through it."""

    def __init__(self, _split):
        super().__init__()
        self.stem, self.norm = nn.Linear(64, 6), nn.BatchNorm1d(6)
        self.one, self.two = nn.Linear(6, 10), nn.Linear(6, 10)

    def forward(self, x):
        h = self.stem(x.flatten(1))
        return self.one(h.relu()) + self.two(self.norm(h).relu())


def test_with_batch_norm_the_value_is_that_of_the_network_returned():
    model, split = trained(Beside, n=40)
    with torch.no_grad():
        for values in (model.stem.weight, model.stem.bias, model.norm.running_mean):
            values *= 1e-2
        model.norm.running_var *= 1e-4  # near epsilon
    least = orbit_minimum("trace", gengap.Risk(model, split))
    trace = float(dense_hessian(gengap.Risk(least.model, split)).trace())
    assert least.moved == 12 and least.value > 0.1
    assert least.value == pytest.approx(trace, rel=1e-9)


class Recurrent(nn.Module):
    """Rows of an image, one after the other; PyTorch does not vectorize the layer."""

    def __init__(self, _split):
        super().__init__()
        self.rows = nn.GRU(8, 5, batch_first=True)
        self.inner, self.head = nn.Linear(5, 6), nn.Linear(6, 10)

    def forward(self, x):
        return self.head(self.inner(self.rows(x.squeeze(1))[0][:, -1]).relu())


def test_units_behind_a_recurrent_layer_are_rescaled():
    model, split = trained(Recurrent, n=30)
    risk = gengap.Risk(model, split)
    least = orbit_minimum("trace", risk)
    assert least.moved == 6
    assert least.given == pytest.approx(float(dense_gauss_newton(risk).trace()), rel=1e-9)
    at_least = float(dense_gauss_newton(gengap.Risk(least.model, split)).trace())
    assert least.value == pytest.approx(at_least, rel=1e-9) and least.value < least.given


def test_what_cannot_be_minimized_is_one_sentence():
    model, split = trained(perceptron, n=20, steps=1)
    risk = gengap.Risk(model, split)
    with pytest.raises(ValueError, match="`measure` must be 'trace' or a function of a risk; got"):
        orbit_minimum("curvature", risk)
    with pytest.raises(ValueError, match=r"`measure` must be positive on every rescaling; got -1"):
        orbit_minimum(lambda r: -1.0, risk)
    smooth = users.randomized(nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Tanh()))
    with pytest.raises(ValueError, match="`risk` must hold a model with units to rescale"):
        orbit_minimum(
            "trace", gengap.Risk(smooth, split[:9][split.targets[:9] < 5], loss="cross_entropy")
        )
