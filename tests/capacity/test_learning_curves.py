"""Closed form: published transitions, a grid; property: the limits of load and temperature."""

import math

import numpy as np
import pytest
import torch

from gengap import capacity

GRID = torch.linspace(1e-6, 0.5, 200_001, dtype=torch.float64)


def on_grid(load, *, students="ising", temperature=0.0):
    """Return error and exponent of the largest maximum inside, by looking everywhere."""
    values = capacity.annealed_exponent(GRID, load, students=students, temperature=temperature)
    inside = (values[1:-1] >= values[:-2]) & (values[1:-1] >= values[2:])
    places = inside.nonzero().flatten() + 1
    best = places[values[places].argmax()] if len(places) else None
    return (math.nan, math.nan) if best is None else (float(GRID[best]), float(values[best]))


def test_the_ising_transition_and_spinodal_have_the_values_of_the_literature():
    found = capacity.ising_transition()
    assert round(found.load, 3) == 1.448
    assert round(found.spinodal, 3) == 1.730
    assert found.error == pytest.approx(0.254, abs=5e-4)
    assert on_grid(found.load - 1e-4)[1] > 0 > on_grid(found.load + 1e-4)[1]
    assert math.isnan(on_grid(found.spinodal + 1e-4)[0])
    assert on_grid(found.spinodal - 1e-4)[0] == pytest.approx(found.spinodal_error, abs=3e-3)


def test_hot_ising_students_have_the_transition_of_the_high_temperature_limit():
    found = capacity.ising_transition(temperature=1e5)
    assert found.load / 1e5 == pytest.approx(1.696, abs=1e-3)
    assert found.spinodal / 1e5 == pytest.approx(2.082, abs=1e-3)


def test_continuous_students_err_as_one_over_the_load():
    loads = [5.0, 20.0, 100.0]
    curve = capacity.learning_curve(loads, students="continuous")
    products = (curve.errors * torch.tensor(loads, dtype=torch.float64)).tolist()
    assert products == pytest.approx([0.7766, 0.9457, 0.9898], abs=5e-5)
    assert bool(curve.metastable.isnan().all())


@pytest.mark.parametrize("students", ["ising", "continuous"])
@pytest.mark.parametrize("temperature", [0.0, 0.7, 20.0])
def test_the_curve_is_the_highest_place_of_the_exponent(students, temperature):
    loads = [0.3, 1.0, 1.4, 1.6, 2.5, 9.0]
    curve = capacity.learning_curve(loads, students=students, temperature=temperature)
    for load, error in zip(loads, curve.errors.tolist(), strict=True):
        place, height = on_grid(load, students=students, temperature=temperature)
        wins = students == "continuous" or height > 0
        assert error == pytest.approx(place if wins else 0.0, abs=1e-5)


def test_beyond_the_transition_the_old_error_stays_until_the_spinodal():
    curve = capacity.learning_curve([1.0, 1.5, 1.7, 1.8])
    assert curve.errors[1:].tolist() == [0, 0, 0]
    assert curve.errors[0] > curve.metastable[1] > curve.metastable[2] > 0
    assert curve.metastable[0] == 0
    assert math.isnan(curve.metastable[3])
    assert list(curve.frame()) == ["load", "error", "metastable"]


def test_the_rightmost_crossing_is_above_every_curve_and_zero_beyond_the_transition():
    loads = [0.2, 0.8, 1.2, 1.44, 1.46, 3.0]
    found = capacity.rightmost_crossing(loads)
    assert bool((found[:4] > capacity.learning_curve(loads).errors[:4]).all())
    assert found[4:].tolist() == [0, 0]
    everywhere = torch.linspace(0, 1 - 1e-6, 1_000_001, dtype=torch.float64)
    for load, error in zip(loads[:4], found.tolist(), strict=False):
        above = capacity.annealed_exponent(everywhere, load) >= 0
        assert error == pytest.approx(float(everywhere[above].max()), abs=2e-6)


def test_entropy_counts_students():
    n = 2000
    flipped = 300
    count = sum(math.log(n - i) - math.log(i + 1) for i in range(flipped)) / n
    error = math.acos(1 - 2 * flipped / n) / math.pi
    assert float(capacity.student_entropy(torch.tensor(error))) == pytest.approx(count, abs=3e-3)
    ends = capacity.student_entropy(torch.tensor([0.0, 0.5, 1.0]))
    assert ends.tolist() == pytest.approx([0, math.log(2), 0])
    cap = capacity.student_entropy(torch.tensor(0.25), students="continuous")
    assert float(cap) == pytest.approx(math.log(math.sqrt(0.5)))


def test_noise_lowers_the_load():
    assert capacity.effective_load(1000, capacity=500) == 2
    assert capacity.effective_load(1000, capacity=500, label_noise=0.25) == 1.5


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: capacity.learning_curve([0.0]), "`loads` must be positive and finite"),
        (lambda: capacity.learning_curve([]), "`loads` must be positive and finite"),
        (lambda: capacity.learning_curve([1.0], students="potts"), "`students` must be one of"),
        (lambda: capacity.ising_transition(temperature=-1), "`temperature` must be at least 0"),
        (lambda: capacity.rightmost_crossing([np.nan]), "`loads` must be positive and finite"),
        (lambda: capacity.effective_load(1, capacity=0), "`capacity` must be positive"),
    ],
)
def test_what_is_out_of_range_is_refused_in_a_sentence(call, said):
    with pytest.raises(ValueError, match=said):
        call()
