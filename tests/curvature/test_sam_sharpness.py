"""Closed form: worst and average rise of a quadratic; property: adaptive ones bear rescaling."""

import numpy as np
import pytest
import torch

from gengap import Risk
from gengap.curvature import ball_sharpness, sam_sharpness
from tests.curvature.quadratic import FIRST, SECOND, isotropic, network, regression, rescaled


def shifted(risk, by=0.3):
    """The same quadratic away from its minimum; also the shift."""
    move = torch.full_like(risk.params["weight"], by)
    with torch.no_grad():
        risk.model.weight.add_(move)
    return risk, move.numpy().ravel()


def test_the_ball_of_a_quadratic_is_its_largest_eigenvalue():
    risk, hessian = regression(p=6, noise=0.4)
    wanted = np.linalg.eigvalsh(hessian)[-1] * 0.01**2 / 2 / (1 + risk())
    found = ball_sharpness(risk, epsilon=0.01)
    assert found.value == pytest.approx(wanted, rel=1e-6)
    assert float(found.displacement.norm()) == pytest.approx(0.01)
    assert set(found.messages) == {"converged"} and found.spread < 1e-6
    unfinished = ball_sharpness(risk, epsilon=0.01, iterations=1)
    assert set(unfinished.messages) == {"stopped after 1 steps"}
    assert unfinished.value < found.value


def test_one_step_is_the_gradient_scaled_to_the_ball():
    risk, shift = shifted(regression(p=5)[0])
    hessian = regression(p=5)[1]
    g, w = hessian @ shift, risk.params["weight"].numpy().ravel()

    def rise(d):
        return g @ d + 0.5 * d @ hessian @ d

    scaled = np.abs(w) * g
    worst = {
        ("l2", False): 0.05 * g / np.linalg.norm(g),
        ("linf", False): 0.05 * np.sign(g),
        ("l2", True): 0.05 * np.abs(w) * scaled / np.linalg.norm(scaled),
        ("linf", True): 0.05 * np.abs(w) * np.sign(g),
    }
    for (norm, adaptive), d in worst.items():
        found = sam_sharpness(risk, norm=norm, adaptive=adaptive)
        assert found.value == pytest.approx(rise(d), rel=1e-9), (norm, adaptive)
        np.testing.assert_allclose(found.displacement, d, rtol=1e-7)
        assert found.evaluations == 2 and found.messages == ("one step",)
    scales = np.abs(w) + 0.5
    d = 0.1 * scales * (scales * g) / np.linalg.norm(scales * g)
    found = sam_sharpness(risk, rho=0.1, adaptive=True, eta=0.5)
    assert found.value == pytest.approx(rise(d), rel=1e-9)


def test_many_steps_reach_the_top_of_the_ellipsoid_and_one_need_not():
    risk, hessian = regression(p=6)
    shifted(risk, 1e-3)
    w = np.abs(risk.params["weight"].numpy().ravel())
    top = np.linalg.eigvalsh(w[:, None] * hessian * w)[-1]
    found = sam_sharpness(risk, rho=0.5, adaptive=True, steps=300, starts=3)
    assert found.value == pytest.approx(0.5 * 0.5**2 * top, rel=2e-2)
    assert found.value >= 0.5 * 0.5**2 * top
    assert len(found.rises) == 3
    assert sam_sharpness(risk, rho=0.5, adaptive=True).value <= found.value


@pytest.mark.parametrize(("norm", "part"), [("l2", 1.0), ("linf", 1 / 3)])
@pytest.mark.parametrize("adaptive", [False, True])
def test_the_average_is_half_the_weighted_trace(norm, part, adaptive):
    risk, hessian = regression(p=5)
    shifted(risk, 0.5)  # the linear term cancels in pairs
    w = risk.params["weight"].numpy().ravel()
    wanted = 0.5 * 0.3**2 * part * np.sum(np.diag(hessian) * (w**2 if adaptive else 1))
    found = sam_sharpness(risk, rho=0.3, norm=norm, adaptive=adaptive, average=True, draws=400)
    assert found.standard_error < 0.1 * wanted
    assert abs(found.value - wanted) < 4 * found.standard_error
    assert found.evaluations == 800 and found.displacement is None
    few = [
        sam_sharpness(risk, rho=0.3, norm=norm, adaptive=adaptive, average=True, draws=10, seed=s)
        for s in range(30)
    ]
    errors = np.array([(f.value - wanted) / f.standard_error for f in few])
    assert 0.6 < errors.std() < 1.8


@pytest.mark.parametrize("options", [
    {"norm": "l2"}, {"norm": "linf"}, {"steps": 6, "starts": 2}, {"average": True, "draws": 3},
    {"average": True, "norm": "linf", "draws": 3}, {"normalize_logits": True}, {"batch_size": 25},
])  # fmt: skip
def test_adaptive_sharpness_bears_rescaling_and_plain_does_not(options):
    model, split = network(steps=50)
    twin = rescaled(model, FIRST, SECOND, 7.0)
    values = {}
    for adaptive in (True, False):
        pair = [
            sam_sharpness(Risk(m, split), rho=0.05, adaptive=adaptive, **options).value
            for m in (model, twin)
        ]
        values[adaptive] = pair[1] / pair[0]
    assert values[True] == pytest.approx(1, rel=1e-8)
    assert abs(values[False] - 1) > 0.05


def test_normalized_logits_do_not_see_the_size_of_the_logits():
    model, split = network(steps=50)
    last = ("2.weight", "2.bias")
    for normalize, same in ((True, True), (False, False)):
        options = {"rho": 0.02, "adaptive": True, "normalize_logits": normalize}
        one, other = (
            sam_sharpness(Risk(m, split), **options).value
            for m in (model, rescaled(model, last, (), 5.0))
        )
        assert (other == pytest.approx(one, rel=1e-8)) == same


def test_batches_are_measured_one_by_one_and_weighted_by_their_size():
    model, split = network(steps=50, n=50)
    risk = Risk(model, split)
    whole = sam_sharpness(risk)
    assert sam_sharpness(risk, batch_size=50).value == pytest.approx(whole.value, rel=1e-9)
    found = sam_sharpness(risk, batch_size=20)
    assert len(found.rises) == 3
    assert found.value == pytest.approx(np.average(found.rises, weights=[20, 20, 10]))
    assert found.loss == pytest.approx(risk(), rel=1e-9)
    assert found.passes == pytest.approx(whole.passes)
    assert found.value > whole.value


def test_at_a_point_without_slope_one_step_finds_nothing_and_says_so():
    risk = isotropic()
    with torch.no_grad():
        risk.model.weight.zero_()
    flat = risk.on(type(risk.split)(inputs=torch.zeros(2, 4).double(), targets=torch.ones(2, 1)))
    found = sam_sharpness(flat)
    assert found.value == 0 and found.messages == ("the gradient is zero",)


def test_what_cannot_be_is_told():
    model, split = network()
    risk = Risk(model, split)
    for option in ({"rho": 0.0}, {"norm": "l1"}, {"steps": 0}, {"starts": 0}, {"draws": 0},
                   {"eta": -1.0}, {"batch_size": 0}):  # fmt: skip
        with pytest.raises(ValueError, match=f"`{next(iter(option))}` must be"):
            sam_sharpness(risk, **option)
    with pytest.raises(ValueError, match="`epsilon` must be positive"):
        ball_sharpness(risk, epsilon=-1)
