"""Closed form: indicators, means, bias plus variance of averages; twin: all units of a layer."""

import itertools
import math

import pytest
import torch

from gengap import DataError
from gengap._streams import streams
from gengap.capacity import Localized, localized_averages


def uniform(n, d, *names):
    return torch.rand(n, d, generator=streams(0)("x", *names), dtype=torch.float64)


def all_cubes(per_axis, dimension, **options):
    number = per_axis**dimension
    coefficients = torch.randn(number, generator=streams(0)("c"), dtype=torch.float64)
    return Localized(
        coefficients, torch.arange(number), per_axis=per_axis, dimension=dimension, **options
    )


@pytest.mark.parametrize(("per_axis", "dimension"), [(1, 1), (5, 1), (3, 2), (7, 2), (2, 4)])
def test_units_are_the_indicators_of_cubes_that_fill_the_space(per_axis, dimension):
    module = all_cubes(per_axis, dimension)
    corners = [k / per_axis for k in range(per_axis + 1)]
    on_faces = torch.tensor(list(itertools.product(corners, repeat=dimension))).double()
    x = torch.cat([uniform(100, dimension), on_faces])
    units = module.units(x)
    for point, unit in zip(x.tolist(), units, strict=True):
        places = [max(k for k in range(per_axis) if k / per_axis <= value) for value in point]
        number = sum(p * per_axis**e for e, p in enumerate(reversed(places)))
        assert unit.nonzero().flatten().tolist() == [number]
    assert torch.equal(module(x), module.plain(x))
    assert module.hidden_units == (dimension * (per_axis + 1), per_axis**dimension)


def test_the_formula_with_centres_gives_the_same_inside():
    module = all_cubes(4, 2)
    x = uniform(300, 2)
    half = 1 / 8
    centres = torch.tensor(list(itertools.product([1 / 8, 3 / 8, 5 / 8, 7 / 8], repeat=2))).double()
    steps = (half + x[:, None] - centres >= 0).sum(-1) + (half - x[:, None] + centres >= 0).sum(-1)
    assert torch.equal((steps - 4 + 0.5 > 0).double(), module.units(x))


@pytest.mark.parametrize("sharpness", [4.0, 10.0, 40.0])
def test_logistic_units_are_off_by_exp_of_minus_half_the_sharpness(sharpness):
    exact, smooth = all_cubes(5, 2), all_cubes(5, 2, sharpness=sharpness)
    x = uniform(200, 2)
    difference = (smooth.units(x) - exact.units(x)).abs().max()
    assert float(difference) == pytest.approx(1 / (1 + math.exp(sharpness / 2)), rel=1e-9)
    assert torch.equal(smooth(x), smooth.plain(x))


def test_outside_the_unit_cube_and_in_cubes_without_examples_it_is_zero():
    module = localized_averages(torch.tensor([[0.1, 0.1]]), torch.tensor([3.0]), per_axis=2)
    x = torch.tensor([[0.2, 0.3], [0.2, 0.7], [-0.2, 0.3], [1.2, 0.3]])
    assert module(x).tolist() == [3.0, 0.0, 0.0, 0.0]
    assert module.plain(x).tolist() == [3.0, 0.0, 0.0, 0.0]


def test_averages_solve_least_squares():
    x, y = uniform(60, 2), torch.randn(60, generator=streams(0)("y"), dtype=torch.float64)
    module = localized_averages(x, y, per_axis=4)
    solved = torch.linalg.lstsq(module.units(x), y[:, None]).solution[:, 0]
    torch.testing.assert_close(module.coefficients.detach(), solved, rtol=1e-10, atol=1e-12)


def test_the_expected_error_is_bias_plus_variance():
    n, per_axis, noise, repeats = 4096, 16, 0.5, 60
    at = (torch.arange(4096, dtype=torch.float64)[:, None] + 0.5) / 4096
    errors = []
    for repeat in range(repeats):
        x = uniform(n, 1, repeat)
        g = streams(0)("noise", repeat)
        y = torch.sin(2 * math.pi * x[:, 0]) + noise * torch.randn(n, generator=g).double()
        module = localized_averages(x, y, per_axis=per_axis)
        with torch.no_grad():
            errors.append((module(at) - torch.sin(2 * math.pi * at[:, 0])).square().mean())
    # mean of f over a cube of side h is sinc(h) f(centre): bias^2 = (1 - sinc(h)^2) / 2
    sinc = math.sin(math.pi / per_axis) / (math.pi / per_axis)
    bias = (1 - sinc**2) / 2
    expected = bias + (noise**2 + bias) * per_axis / n
    found = torch.stack(errors)
    error = float(found.std() / math.sqrt(repeats))
    assert abs(float(found.mean()) - expected) < 4 * error + 1e-3 * expected
    assert error < 0.02 * expected


def test_arguments_that_do_not_fit():
    x, y = uniform(5, 2), torch.zeros(5)
    with pytest.raises(DataError, match="unit cube"):
        localized_averages(x + 1, y, per_axis=2)
    with pytest.raises(DataError, match="`y` must be finite"):
        localized_averages(x, y + math.nan, per_axis=2)
    with pytest.raises(ValueError, match="shapes"):
        localized_averages(x, y[:3], per_axis=2)
    with pytest.raises(ValueError, match="at most 2"):
        localized_averages(uniform(5, 70), y, per_axis=2)
    with pytest.raises(ValueError, match="`per_axis`"):
        localized_averages(x, y, per_axis=0)
    with pytest.raises(ValueError, match="`sharpness`"):
        localized_averages(x, y, per_axis=2, sharpness=-1.0)
