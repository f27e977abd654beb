"""Closed form: known distances; twin: the leave-one-out error of KernelInterpolatorClassifier."""

import pytest
import torch

from gengap.kernels import (
    KernelInterpolatorClassifier,
    leave_one_out_bandwidth,
    median_bandwidth,
)


def test_the_median_is_of_squared_distances():
    points = torch.tensor([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]])
    assert median_bandwidth(points) == pytest.approx(1 / 25)


def test_the_least_leave_one_out_error_decides():
    draws = torch.Generator().manual_seed(5)
    x = torch.randn(120, 3, generator=draws).double()
    y = (x.sum(1) > 0).long() + (x[:, 0] > 1).long()
    unit = median_bandwidth(x)
    errors = {}
    for multiple in (0.1, 1.0, 30.0):
        twin = KernelInterpolatorClassifier(bandwidth=multiple * unit, ridge=1e-8, dtype="float64")
        errors[multiple] = twin.fit(x.numpy(), y.numpy()).loo_error_
    found = leave_one_out_bandwidth(x, y, multiples=tuple(errors))
    assert found == pytest.approx(unit * min(errors, key=errors.get))
    assert len(set(errors.values())) == 3


def test_equal_examples_have_no_bandwidth():
    with pytest.raises(ValueError, match=r"`inputs` must differ in at least half .* got 0"):
        median_bandwidth(torch.ones(5, 2))
