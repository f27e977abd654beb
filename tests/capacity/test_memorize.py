"""Closed form: a triangular solve by scipy; twin: dense ReLU layers; property: refusals, counts."""

import copy
import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn

from gengap import DataError, Risk
from gengap._streams import streams
from gengap.capacity import Ramps, dense_layers, memorize
from gengap.data import Split


def drawn(n, d, *, outputs=None, seed=0):
    g = streams(seed)("examples")
    shape = (n,) if outputs is None else (n, outputs)
    return torch.randn(n, d, generator=g), torch.randn(*shape, generator=g).double()


def furthest(a, b):
    return float((a - b).detach().abs().max())


@pytest.mark.parametrize(("n", "d"), [(1, 1), (2, 1), (1, 5), (40, 3), (700, 20)])
def test_two_layers_fit_with_2n_plus_d_weights(n, d):
    x, y = drawn(n, d)
    module = memorize(x, y)
    assert isinstance(module, nn.Module)
    assert module.num_weights == 2 * n + d == module.achieved.weights
    assert sum(p.numel() for p in module.state_dict().values()) == 2 * n + d
    assert furthest(module(x), y) == module.achieved.error <= 1e-12
    assert (module.achieved.depth, module.achieved.width) == (2, n)


def test_the_weights_solve_the_triangular_system():
    x, y = drawn(60, 4)
    module = memorize(x, y)
    (ramps,) = module.stages
    t = (x.double() @ module.direction).detach().numpy()
    order = np.argsort(t)
    matrix = np.maximum(t[order][:, None] - ramps.thresholds.detach().numpy(), 0.0)
    assert np.array_equal(matrix, np.tril(matrix))
    assert (np.diag(matrix) > 0).all()
    w = scipy.linalg.solve_triangular(matrix, y.numpy()[order], lower=True)
    np.testing.assert_allclose(ramps.weights.detach().numpy()[:, 0], w, rtol=1e-9)


@pytest.mark.parametrize("depth", [2, 3, 4, 7])
@pytest.mark.parametrize("outputs", [None, 1, 3])
def test_prefix_sums_dense_sums_and_dense_layers_agree_everywhere(depth, outputs):
    x, y = drawn(50, 4, outputs=outputs)
    module = memorize(x, y, depth=depth)
    layers = dense_layers(module)
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    assert len(linear) == depth
    assert max(layer.out_features for layer in linear[:-1]) == module.width
    assert module.width <= math.ceil(50 / (depth - 1)) + (outputs or 1) + 2
    far = torch.cat([x, 3 * drawn(200, 4, seed=1)[0], torch.zeros(1, 4)])
    found = module(far)
    assert found.shape == (251, *y.shape[1:])
    assert furthest(found, module.plain(far)) < 1e-9
    assert furthest(found.reshape(251, -1), layers(far.double())) < 1e-9
    assert furthest(module(x), y) < 1e-12


@pytest.mark.parametrize("depth", range(3, 9))
def test_a_deep_network_is_the_shallow_one_on_its_examples_with_few_weights_more(depth):
    x, y = drawn(300, 6)
    module = memorize(x, y, depth=depth)
    assert module.num_weights == 2 * 300 + 6 + 2 * (depth - 2) + 1
    assert furthest(module(x), y) < 1e-12


def test_vectors_need_a_weight_an_output_and_example():
    x, y = drawn(80, 7, outputs=5)
    assert memorize(x, y).num_weights == 80 * 6 + 7


def test_classes_as_one_number_or_as_scores():
    x, _ = drawn(200, 7)
    y = torch.randint(0, 10, (200,), generator=streams(0)("labels"))
    one = memorize(x, y)
    assert one.num_weights == 2 * 200 + 7
    assert torch.equal(one.classify(x), y)
    scores = memorize(x, y, num_classes=10)
    assert scores.num_weights == 2 * 200 + 7 + 2 * 10
    assert scores(x).shape == (200, 10)
    assert torch.equal(scores(x).argmax(1), y)
    assert torch.equal(dense_layers(scores)(x.double()).argmax(1), y)
    risk = Risk(scores, Split(inputs=x, targets=y, num_classes=10))
    distances = (torch.arange(10).double() - y[:, None]).square() / 2
    expected = torch.logsumexp(-distances, 1).mean()
    assert risk() == pytest.approx(float(expected), rel=1e-10)


@pytest.mark.parametrize("depth", [2, 5])
def test_autograd_agrees_with_that_of_the_dense_sum(depth):
    x, y = drawn(40, 3)
    module = memorize(x, y, depth=depth)
    at = torch.randn(30, 3, generator=streams(2)("x"), dtype=torch.float64, requires_grad=True)
    inputs = [at, *module.parameters()]
    ours = torch.autograd.grad(module(at).sin().sum(), inputs)
    theirs = torch.autograd.grad(module.plain(at).sin().sum(), inputs)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-7)


def test_at_a_threshold_the_derivative_is_that_of_torch_relu():
    ramps = Ramps(torch.tensor([0.0, 1.0]).double(), torch.tensor([[1.0], [-3.0]]).double())
    t = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    (ours,) = torch.autograd.grad(ramps(t).sum(), t)
    (theirs,) = torch.autograd.grad(ramps.plain(t).sum(), t)
    assert ours.tolist() == theirs.tolist() == [0.0, 1.0, -2.0]


def test_prefix_sums_that_cancel_keep_their_digits():
    g = streams(0)("weights")
    slopes = 10.0 ** (16 * torch.rand(400, 1, generator=g, dtype=torch.float64) - 4)
    weights = slopes.diff(dim=0, prepend=torch.zeros(1, 1).double())
    exact = list(itertools.accumulate(Fraction(w) for w in weights[:, 0].tolist()))
    found = Ramps(torch.arange(400).double(), weights).pieces()[2][:, 0].tolist()
    rest = 400 * max(exact) / 2 ** (49 + 53)  # rounding of what is left without leading digits
    for one, other in zip(found, exact, strict=True):
        assert abs(Fraction(one) - other) <= abs(other) / 2**50 + rest
    plain = weights.cumsum(0)[:, 0].tolist()
    assert any(abs(Fraction(a) - b) > abs(b) / 2**30 for a, b in zip(plain, exact, strict=True))


def test_every_example_may_have_its_own_layer():
    x, y = drawn(9, 4)
    module = memorize(x, y, depth=10)
    assert furthest(module(x), y) < 1e-12
    assert furthest(dense_layers(module)(x.double())[:, 0], y) < 1e-12


def test_thresholds_may_be_in_any_order():
    g = streams(0)("ramps")
    ramps = Ramps(torch.randn(30, generator=g).double(), torch.randn(30, 2, generator=g).double())
    t = torch.cat([3 * torch.randn(50, generator=g).double(), ramps.thresholds.detach()])
    torch.testing.assert_close(ramps(t), ramps.plain(t), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("d", [784, 40_000])
def test_the_output_of_an_example_does_not_depend_on_the_others(d):
    x, y = drawn(100, d)
    module = memorize(x, y)
    found = module(x)
    assert torch.equal(torch.cat([module(x[i : i + 1]) for i in range(20)]), found[:20])
    assert torch.equal(module(x[37:51]), found[37:51])


def test_projections_of_pixels_are_exact_in_any_order():
    pixels = torch.randint(0, 256, (400, 28 * 28), generator=streams(0)("pixels")) / 255
    module = memorize(pixels, torch.arange(400) % 10)
    assert module.achieved.exact_projection
    assert module.achieved.sensitivity == 0
    t = (pixels.double() * module.direction).sum(1)
    shuffled = torch.randperm(784, generator=streams(0)("order"))
    products = pixels.double()[:, shuffled] * module.direction[shuffled]
    assert torch.equal(products.cumsum(1)[:, -1], t)
    fractions = [math.fsum(row) for row in products[:20].tolist()]
    assert fractions == t[:20].tolist()


def test_numbers_with_all_digits_are_not_projected_exactly_and_it_is_said():
    x = torch.rand(50, 5, dtype=torch.float64, generator=streams(0)("x"))
    achieved = memorize(x, torch.arange(50) % 3).achieved
    assert not achieved.exact_projection
    assert 0 < achieved.sensitivity < 1e-9


def test_rounding_does_not_add_up_over_many_examples():
    x, _ = drawn(20_000, 3)
    y = torch.randint(0, 2, (20_000,), generator=streams(0)("labels"))
    module = memorize(x, y)
    assert module.achieved.slope > 1e5
    assert module.achieved.error < 1e-9
    assert torch.equal(module.classify(x), y)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float16, torch.float32])
def test_inputs_of_any_dtype_and_shape(dtype):
    x = torch.randint(0, 200, (30, 1, 4, 4), generator=streams(0)("x")).to(dtype)
    module = memorize(x, np.arange(30) % 3)
    assert module.achieved.exact_projection
    assert module(x).dtype == torch.float64
    assert torch.equal(module.classify(x), torch.arange(30) % 3)


def test_a_copy_and_its_state_are_the_same_function():
    x, y = drawn(30, 4)
    module = memorize(x, y, depth=3)
    twin = copy.deepcopy(module)
    twin.load_state_dict(module.state_dict())
    assert torch.equal(twin(x), module(x))


def test_in_single_precision_it_still_computes_but_is_another_function():
    x, y = drawn(2000, 4)
    module = memorize(x, y).float()
    assert module(x).dtype == torch.float64
    assert furthest(module(x), y) > 1e-3


def test_the_same_seed_gives_the_same_bits_and_arguments_stay():
    x, y = drawn(50, 4)
    before = x.clone(), y.clone()
    one, other = memorize(x, y, seed=3), memorize(x, y, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])
    assert not torch.equal(one.direction, memorize(x, y, seed=4).direction)


def test_equal_examples_with_equal_targets_cost_weights_but_no_error():
    x, y = drawn(20, 4)
    twice = torch.cat([x, x[:7], x[:7]]), torch.cat([y, y[:7], y[:7]])
    for depth in (2, 4):
        module = memorize(*twice, depth=depth)
        assert furthest(module(x), y) < 1e-12
    same = memorize(torch.ones(5, 3), torch.full((5,), 2.0))
    assert same(torch.ones(1, 3)).tolist() == [2.0]


def test_equal_examples_with_different_targets_are_refused_by_name():
    x, y = drawn(20, 4)
    x[13] = x[4]
    with pytest.raises(DataError, match="examples 4 and 13: leave one of them out"):
        memorize(x, y)
    x[2] = x[4]
    y[13] = y[4]
    with pytest.raises(DataError, match="one example with two targets"):
        memorize(x, y)


def test_examples_that_rounding_makes_one_are_refused():
    x = torch.tensor([[1.0, 1e-30], [1.0, -1e-30], [2.0, 0.0]], dtype=torch.float64)
    with pytest.raises(DataError, match="examples 0 and 1 are told apart by none"):
        memorize(x, torch.tensor([0.0, 1.0, 2.0]))
    same_target = memorize(x, torch.tensor([1.0, 1.0, 2.0]))
    assert furthest(same_target(x), torch.tensor([1.0, 1.0, 2.0])) < 1e-12


def test_examples_too_close_for_the_tolerance_are_refused_with_the_error():
    x = torch.tensor([[0.0], [1e-290], [1.0], [2.0]], dtype=torch.float64)
    y = torch.tensor([0.0, 1.0, 0.3, 1.0])
    with pytest.raises(DataError, match=r"examples . and . are only 1e-290 apart"):
        memorize(x, y)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_refused(bad):
    x, y = drawn(10, 3)
    x[3, 1] = bad
    with pytest.raises(DataError, match="`x` must be finite"):
        memorize(x, y)
    x, y = drawn(10, 3)
    y[3] = bad
    with pytest.raises(DataError, match="`y` must be finite"):
        memorize(x, y)


def test_arguments_that_do_not_fit():
    x, y = drawn(10, 3)
    with pytest.raises(ValueError, match=r"shapes \[n, \.\.\.\] and \[n\]"):
        memorize(x, y[:9])
    with pytest.raises(ValueError, match="shapes"):
        memorize(x[:0], y[:0])
    with pytest.raises(ValueError, match="`depth` must be a whole number of at least 2"):
        memorize(x, y, depth=1)
    with pytest.raises(ValueError, match=r"`depth` must be at most n \+ 1 = 11"):
        memorize(x, y, depth=12)
    with pytest.raises(ValueError, match="class indices below `num_classes`"):
        memorize(x, torch.arange(10), num_classes=9)
    with pytest.raises(ValueError, match="class indices"):
        memorize(x, y, num_classes=9)
    with pytest.raises(DataError, match="small enough"):
        memorize(1e308 * torch.ones(3, 900, dtype=torch.float64), torch.arange(3))
