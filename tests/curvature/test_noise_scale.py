"""Closed form: SGD's noise scale and the top of a sweep. Oracle: the paper's formula, parabolas."""

import math

import numpy as np
import pytest

from gengap.curvature import batch_size_for, noise_scale, optimum_batch_size


def test_the_papers_formula():
    assert noise_scale(lr=0.5, n=1000, batch_size=100) == pytest.approx(4.5)
    assert noise_scale(lr=0.5, n=1000, batch_size=100, large=True) == pytest.approx(5.0)
    assert noise_scale(lr=0.5, n=1000, batch_size=100, momentum=0.9) == pytest.approx(45.0)
    assert noise_scale(lr=0.5, n=1000, batch_size=1000) == 0


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_batch_size_of_a_scale_is_its_inverse(momentum):
    scale = noise_scale(lr=0.3, n=500, batch_size=37, momentum=momentum)
    found = batch_size_for(scale, lr=0.3, n=500, momentum=momentum)
    assert found == pytest.approx(37, rel=1e-12)
    small = batch_size_for(1e4, lr=0.3, n=500)
    assert batch_size_for(1e4, lr=0.6, n=500) == pytest.approx(2 * small, rel=1e-3)


def sweep(top, seeds=4, spread=0.0):
    draw = np.random.Generator(np.random.Philox(key=1))
    sizes = [4, 8, 16, 32, 64, 128, 256]
    return {
        b: [0.9 - 0.01 * math.log(b / top) ** 2 + spread * draw.normal() for _ in range(seeds)]
        for b in sizes
    }


def test_the_top_of_a_parabola_is_found_between_the_sizes_run():
    found = optimum_batch_size(sweep(24.0))
    assert found.batch_size == pytest.approx(24.0, rel=1e-9)
    assert found.best in (16, 32)
    assert found.interior
    assert found.standard_error == pytest.approx(0, abs=1e-9)
    assert math.isnan(optimum_batch_size(sweep(24.0, seeds=1)).standard_error)


def test_noise_gives_an_error_that_covers_the_top():
    found = optimum_batch_size(sweep(24.0, spread=0.005))
    assert 0 < found.standard_error < 1
    assert abs(math.log(found.batch_size / 24)) < 3 * found.standard_error


def test_an_end_of_the_sweep_is_no_interior_optimum():
    found = optimum_batch_size({4: [0.9], 8: [0.8], 16: [0.6]})
    assert (found.best, found.interior) == (4, False)
    assert found.batch_size == pytest.approx(4)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: noise_scale(lr=0, n=10, batch_size=1), "`lr` must be positive"),
        (lambda: noise_scale(lr=1, n=10, batch_size=11), r"`batch_size` must lie in \[1, 10\]"),
        (lambda: noise_scale(lr=1, n=10, batch_size=1, momentum=1), "`momentum` must be below 1"),
        (lambda: optimum_batch_size({1: [0.1]}), "at least three batch sizes"),
        (lambda: optimum_batch_size({1: [0.1], 2: [], 3: [0.1]}), "of batch size 2 must be fin"),
    ],
)
def test_what_does_not_fit_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
