"""Convergence and closed form: traces, norms, diagonals, densities, sums over a spectrum.

Oracle: the dense float64 Hessian by torch.func; quadratics whose spectrum we choose.
"""

import math
from functools import partial

import pytest
import torch

import gengap
from gengap.curvature import (
    _gauss_newton_diagonal,
    diagonal,
    effective_rank,
    fisher,
    frobenius_norm,
    gauss_newton,
    gauss_newton_diagonal,
    hessian,
    log_determinant,
    spectral_density,
    trace,
)
from tests.curvature.curvature_cases import BUILD, quadratic, risk_of
from tests.reference.dense_curvature import (
    dense_empirical_fisher,
    dense_gauss_newton,
    dense_hessian,
)

SPECTRUM = [0.7**i for i in range(60)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "most"), [("stratified", 4), ("hutch++", 24), ("hutchinson", 12)]
)
def test_intervals_of_the_trace_cover_the_truth(method, most):
    risk = risk_of("mlp", n=24, chunk=32)
    truth = float(dense_hessian(risk).trace())
    operator = hessian(risk)
    found = [
        trace(operator, method=method, standard_error=1e-9, most=most, seed=s) for s in range(200)
    ]
    assert all(e.products == most for e in found)
    assert not any(e.standard_error == 0 for e in found)
    covered = sum(low <= truth <= high for low, high in (e.interval() for e in found))
    assert 184 <= covered <= 196
    errors = torch.tensor([e.value - truth for e in found])
    assert abs(errors.mean()) < 4 * errors.std() / math.sqrt(200)


def test_parts_with_signs_of_their_own_need_fewer_products():
    risk = risk_of("mlp", n=512, chunk=128)
    plain = trace(risk, method="hutchinson", standard_error=0.08, most=150)
    parts = trace(risk, standard_error=0.08, most=150)
    assert parts.converged
    assert parts.products * 4 <= plain.products


def test_a_trace_cut_short_says_so():
    found = trace(risk_of("mlp"), standard_error=1e-3, most=10, method="hutchinson")
    assert not found.converged
    assert found.products == 10


def test_more_products_than_parameters_are_never_made():
    risk = risk_of("mlp", n=16)
    found = trace(risk, standard_error=1e-6, method="hutchinson")
    assert found.value == pytest.approx(float(dense_hessian(risk).trace()), rel=1e-12)
    assert found.standard_error == 0
    assert found.interval() == (found.value, found.value)


def test_the_frobenius_norm():
    risk = risk_of("deep tanh")
    truth = float(dense_hessian(risk).norm())
    found = [frobenius_norm(risk, standard_error=0.05, seed=s) for s in range(5)]
    assert all(e.converged for e in found)
    assert all(abs(e.value - truth) < 4 * e.standard_error for e in found)


@pytest.mark.slow
def test_errors_are_not_understated_though_the_draws_stop_when_they_agree():
    """A trained network has a spectrum with a long tail: a few draws often agree by chance."""
    train, _ = gengap.load("digits")
    recipe = gengap.Recipe(epochs=10, lr=0.05)
    build = partial(gengap.models.mlp, train.input_shape, 10, hidden=(8,))
    model = gengap.fit(build, train[:200], recipe=recipe).model
    operator = hessian(gengap.Risk(model, train[:60], dtype=torch.float64))
    truth = float(operator.dense().norm())
    found = [frobenius_norm(operator, seed=seed) for seed in range(60)]
    assert all(one.converged for one in found)
    off = torch.tensor([(one.value - truth) / one.standard_error for one in found])
    assert off.square().mean().sqrt() < 1.3


def test_the_diagonal_and_its_errors():
    risk = risk_of("conv", n=64, chunk=32)
    truth = dense_hessian(risk).diagonal()
    found = diagonal(risk, standard_error=0.25, most=40)
    assert (found.standard_errors > 0).any()
    assert (found.values - truth).norm() < 2 * found.standard_errors.norm()
    assert (found.values - truth).norm() > 0.5 * found.standard_errors.norm()
    exact = diagonal(risk, standard_error=1e-4)
    torch.testing.assert_close(exact.values, truth, rtol=1e-8, atol=1e-12)
    assert not exact.standard_errors.any()


@pytest.mark.parametrize("name", BUILD)
def test_diagonals_of_squares_are_exact(name):
    risk = risk_of(name)
    some = list(risk.params)[1:]
    for operator, dense in (
        (gauss_newton(risk), dense_gauss_newton(risk)),
        (fisher(risk, names=some), dense_gauss_newton(risk, some)),
        (fisher(risk, kind="empirical"), dense_empirical_fisher(risk)),
    ):
        found, truth = diagonal(operator), dense.detach().diagonal()
        assert found.converged and found.products == 0 and not found.standard_errors.any()
        size = float(truth.abs().max())
        torch.testing.assert_close(found.values, truth, rtol=1e-9, atol=1e-12 * size)


def test_a_loss_that_is_not_convex_has_a_diagonal_too(monkeypatch):
    risk = risk_of("regression")
    risk = risk.on(risk.split, loss=lambda outputs, y: (outputs - y).sin().sum(1))
    truth = dense_gauss_newton(risk).detach().diagonal()
    for entries in (1 << 22, 8):  # all examples at once, two at a time
        monkeypatch.setattr(_gauss_newton_diagonal, "_ENTRIES_AT_ONCE", entries)
        found = torch.cat([part.flatten() for part in gauss_newton_diagonal(risk).values()])
        torch.testing.assert_close(found, truth, rtol=1e-9, atol=1e-12)
        dropped = gauss_newton_diagonal(risk, negative="drop")
        assert sum(float(part.sum()) for part in dropped.values()) > float(truth.sum())
    with pytest.raises(ValueError, match=r"convex in the outputs; got -\S+ as an eigenvalue"):
        gauss_newton_diagonal(risk, negative="refuse")


def test_the_density_of_a_known_spectrum():
    values = torch.tensor([0.0] * 40 + [1.0] * 15 + [3.0] * 5, dtype=torch.float64)
    found = spectral_density(quadratic(values.tolist()), probes=40, steps=10, width=0.05)
    scaled = (found.grid[:, None] - values) / 0.05
    truth = torch.exp(-0.5 * scaled.square()).mean(1) / (0.05 * math.sqrt(2 * math.pi))
    off = (found.density - truth).abs()
    assert (off <= 4 * found.standard_error + 1e-6).all()
    share, error = found.share_below(0.5)
    assert share == pytest.approx(2 / 3, abs=4 * error + 1e-12)
    assert error < 0.05
    assert list(found.frame().columns) == ["eigenvalue", "density", "low", "high"]
    area = torch.trapezoid(found.density, found.grid)
    assert float(area) == pytest.approx(1, abs=1e-3)


def test_the_density_of_a_network_is_the_dense_one():
    risk = risk_of("deep tanh")
    values = torch.linalg.eigvalsh(dense_hessian(risk))
    found = spectral_density(risk, probes=12, steps=40)
    scaled = (found.grid[:, None] - values) / found.width
    truth = torch.exp(-0.5 * scaled.square()).mean(1) / (found.width * math.sqrt(2 * math.pi))
    off = (found.density - truth).abs() / (found.standard_error + 1e-3 * truth.max())
    assert float(off.max()) < 5


@pytest.mark.parametrize("most", [2000, 140])
def test_log_determinants_to_one_percent(most):
    risk = risk_of("mlp")
    operator = gauss_newton(risk)
    values = torch.linalg.eigvalsh(dense_gauss_newton(risk))
    truth = float(torch.log(values + 0.1).sum())
    assert operator.shape[0] == 163
    found = log_determinant(operator, shift=0.1, most=most, steps=15)
    assert found.converged
    assert found.value == pytest.approx(truth, rel=1e-10 if most == 2000 else 0.01)
    assert (found.standard_error == 0) == (most == 2000)


def test_an_indefinite_matrix_has_no_log_determinant():
    with pytest.raises(ValueError, match=r"`shift` must make the matrix positive definite"):
        log_determinant(risk_of("deep tanh"), shift=1e-4)
    with pytest.raises(ValueError, match=r"`shift` must make the matrix positive definite"):
        log_determinant(risk_of("deep tanh"), shift=1e-4, most=130, steps=15)


def test_effective_ranks_by_their_definitions():
    values = torch.tensor(SPECTRUM, dtype=torch.float64)
    risk = quadratic(SPECTRUM)
    ratio = effective_rank(risk, standard_error=0.05)
    truth = float(values.sum() ** 2 / values.square().sum())
    assert ratio.value == pytest.approx(truth, abs=4 * ratio.standard_error + 1e-9)
    used = effective_rank(risk, definition="parameters", shift=0.01)
    assert used.value == pytest.approx(float((values / (values + 0.01)).sum()), rel=1e-9)
    with pytest.raises(ValueError, match="`shift` must be given"):
        effective_rank(risk, definition="parameters")
