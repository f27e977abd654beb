"""Closed form: the ellipsoid of a quadratic; construction: boxes of low loss without end."""

import math

import numpy as np
import pytest
import torch
from scipy.special import gammaln

from gengap import Risk
from gengap.curvature import disjoint_boxes, volume_flatness
from tests.curvature.quadratic import FIRST, SECOND, isotropic, network, regression, rescaled


def ellipsoid(hessian, epsilon):
    """Log-volume of the points where half a quadratic form is below epsilon."""
    p = len(hessian)
    ball = 0.5 * p * math.log(math.pi) - gammaln(0.5 * p + 1)
    return ball + 0.5 * p * math.log(2 * epsilon) - 0.5 * np.linalg.slogdet(hessian)[1]


def test_it_is_exact_for_a_quadratic_in_the_shape_of_its_hessian():
    risk, hessian = regression(p=7, noise=0.3)
    found = volume_flatness(risk, epsilon=0.02, directions=4)
    assert found.log_volume == pytest.approx(ellipsoid(hessian, 0.02), abs=0.011)
    assert found.standard_error < 0.011 and found.capped == 0
    assert found.lower_bound == pytest.approx(found.log_volume, abs=0.011)


def test_in_the_shape_of_a_ball_it_is_within_its_standard_error_and_the_bound_below():
    risk, hessian = regression(p=3, noise=0.3)
    wanted = ellipsoid(hessian, 0.02)
    found = volume_flatness(risk, epsilon=0.02, directions=150, shape="sphere")
    assert 0 < found.standard_error < 0.4
    assert abs(found.log_volume - wanted) < 4 * found.standard_error
    assert found.lower_bound + 4 * found.lower_bound_error < wanted
    sphere = volume_flatness(isotropic(), epsilon=0.5, directions=3, shape="sphere")
    assert sphere.log_volume == pytest.approx(ellipsoid(np.eye(4), 0.5), abs=0.011)


def test_rescaling_changes_it_by_the_determinant():
    model, split = network(steps=150, hidden=4, dim=4)
    n1, n2 = 4 * 4 + 4, 4 * 3
    for shape in ("sphere", None):
        risks = [Risk(m, split) for m in (model, rescaled(model, FIRST, SECOND, 1.3))]
        one, other = (volume_flatness(r, shape=shape, directions=40, longest=100) for r in risks)
        change = other.log_volume - one.log_volume
        tolerance = 4 * math.hypot(one.standard_error, other.standard_error)
        assert abs(change - (n1 - n2) * math.log(1.3)) < tolerance


def test_directions_without_an_end_are_counted():
    risk, _ = regression(n=3, p=6)
    found = volume_flatness(risk, directions=10, longest=2.0)
    assert found.capped > 5
    far = volume_flatness(risk, directions=10, longest=200.0)
    assert far.log_volume > found.log_volume + 3


def test_boxes_of_low_loss_do_not_meet_and_do_not_shrink():
    model, split = network(steps=100)
    risk = Risk(model, split)
    found = disjoint_boxes(risk, first=FIRST, second=SECOND, epsilon=0.05, boxes=8)
    frame = found.frame()
    assert (frame["to"].to_numpy()[:-1] < frame["from"].to_numpy()[1:]).all()
    assert (np.diff(frame["log_volume"]) >= 0).all()
    assert found.log_volume >= math.log(8) + frame["log_volume"][0]
    assert (frame["largest_loss"] < risk() + 0.05).all()
    np.testing.assert_allclose(frame["largest_loss"], frame["largest_loss"][0], rtol=1e-9)
    assert frame["largest_loss"][0] > risk()
    determinant = (8 * 6 + 8 - 8 * 3) * math.log(found.factor)
    assert frame["log_volume"][1] - frame["log_volume"][0] == pytest.approx(determinant)


def test_the_larger_group_grows():
    model, split = network(steps=50)
    found = disjoint_boxes(Risk(model, split), first=SECOND, second=FIRST, epsilon=0.5)
    assert (np.diff(found.log_volumes) > 0).all()


def test_what_cannot_be_is_told():
    model, split = network()
    risk = Risk(model, split)
    with pytest.raises(ValueError, match="rescaled without a change of the function; the loss"):
        disjoint_boxes(risk, first=("0.weight",), second=("2.bias", "2.weight"))
    with pytest.raises(ValueError, match=r"`first` must name parameters, of 0.weight"):
        disjoint_boxes(risk, first=("1.weight",), second=SECOND)
    for option in ({"epsilon": 0.0}, {"directions": 1}, {"longest": 0.0}, {"shape": "cube"}):
        with pytest.raises(ValueError, match=f"`{next(iter(option))}` must be"):
            volume_flatness(risk, **option)
    with torch.no_grad():
        model[2].weight.zero_()
    with pytest.raises(ValueError, match="must both have weights other than 0"):
        disjoint_boxes(Risk(model, split), first=FIRST, second=SECOND)
