"""Closed form: evidence and posterior modes. Oracles: normal densities, integrals, scikit-learn."""

import math
import warnings

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from sklearn.linear_model import LogisticRegression
from torch import nn

import gengap
from gengap.curvature import log_evidence, posterior_mode
from gengap.data import Split, gaussian_clusters
from gengap.models import linear, mlp

EYE = torch.eye(4, dtype=torch.float64)


def seeded(build, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build()


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def regression(n=12, d=4):
    split = Split(inputs=drawn(n, d), targets=drawn(n, 1, seed=1))
    model = seeded(lambda: nn.Linear(d, 1, bias=False).double())
    return gengap.Risk(model, split, loss="squared_error", chunk=5)


def ridge(risk, matrix):
    x, y = (v.double() for v in risk.split.batch())
    return torch.linalg.solve(x.T @ x + matrix, x.T @ y).T


@pytest.mark.parametrize("curvature", ["hessian", "gauss_newton"])
def test_the_evidence_of_gaussian_regression_is_a_normal_density(curvature):
    risk, precision = regression(), 0.3
    found = log_evidence(
        risk,
        precision,
        point={"weight": ridge(risk, precision * EYE)},
        curvature=curvature,
    )
    x, y = (v.double().numpy() for v in risk.split.batch())
    covariance = np.eye(12) + x @ x.T / precision
    density = stats.multivariate_normal(np.zeros(12), covariance).logpdf(y[:, 0])
    assert found.value == pytest.approx(density + 6 * math.log(2 * math.pi), rel=1e-10)
    assert found.value == pytest.approx(-found.cost + found.log_occam_factor, rel=1e-12)
    assert found.gradient_norm < 1e-10 and found.decrement < 1e-12
    smallest = float(torch.linalg.eigvalsh(torch.from_numpy(x.T @ x))[0]) + precision
    assert found.smallest == pytest.approx(smallest, rel=1e-9)
    assert math.isnan(found.null)
    assert (found.n, found.p, found.standard_error) == (12, 4, 0.0)


class Changed(nn.Module):
    """A linear model whose weights are the matrix A times its parameters."""

    def __init__(self, matrix, weight):
        super().__init__()
        self.register_buffer("matrix", matrix)
        self.inner = nn.Parameter(torch.linalg.solve(matrix, weight.flatten()))

    def forward(self, x):
        return x @ (self.matrix @ self.inner)[:, None]


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_parameters_and_prior_together_may_be_changed_linearly(kind):
    risk, precision = regression(), 0.3
    weight = ridge(risk, precision * EYE)
    matrix = drawn(4, 4, seed=3)
    if kind == "diagonal":
        matrix = matrix.diagonal().exp().diag()
    twin = gengap.Risk(Changed(matrix, weight), risk.split, loss="squared_error")
    new = precision * matrix.T @ matrix
    prior = {"inner": new.diagonal()} if kind == "diagonal" else new
    first = log_evidence(risk, precision, point={"weight": weight})
    second = log_evidence(twin, prior)
    assert second.value == pytest.approx(first.value, rel=1e-10)
    assert second.log_occam_factor == pytest.approx(first.log_occam_factor, rel=1e-10)
    assert second.smallest != pytest.approx(first.smallest, rel=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kept = log_evidence(twin, precision)
    assert kept.value != pytest.approx(first.value, rel=1e-3)


class Logistic(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, x):
        return torch.cat([0 * x, self.weight * x], 1)


def logistic_error(n, precision=0.5):
    """Laplace's error, in nats, in one dimension against adaptive quadrature."""
    x = drawn(n, 1)
    y = (drawn(n, seed=2) + x[:, 0] > 0).long()
    risk = gengap.Risk(Logistic(), Split(inputs=x, targets=y, num_classes=2))
    mode = posterior_mode(risk, precision)
    found = log_evidence(risk, precision, point=mode.params)
    signs = (2 * y - 1).double() * x[:, 0]
    top = -mode.cost
    at = float(mode.params["weight"])

    def density(w):
        log = -float(torch.nn.functional.softplus(-w * signs).sum()) - precision * w * w / 2
        return math.exp(log - top)

    width = 12 / math.sqrt(n)
    area, _ = integrate.quad(density, at - width * 3, at + width * 3, points=[at], limit=200)
    truth = top + math.log(area) + 0.5 * math.log(precision / (2 * math.pi))
    assert found.null == pytest.approx(-n * math.log(2))
    assert found.log_ratio == pytest.approx(found.value - found.null)
    return abs(found.value - truth)


def test_the_evidence_of_logistic_regression_is_near_the_integral():
    few, many = logistic_error(50), logistic_error(800)
    assert few < 0.05
    assert many < 0.004
    assert many < few / 5  # falls as 1 / n


def clusters(n=60):
    return gaussian_clusters(n, dim=4, num_classes=3, separation=1.0, seed=0)


@pytest.mark.parametrize("newton", [0, 30])
def test_the_mode_of_softmax_regression_is_scikit_learns(newton):
    split, precision = clusters(), 0.2
    model = seeded(lambda: nn.Linear(4, 3, bias=False))
    risk = gengap.Risk(model, split, chunk=25)
    found = posterior_mode(risk, precision, newton=newton)
    x, y = split.batch()
    theirs = LogisticRegression(C=1 / precision, fit_intercept=False, tol=1e-12, max_iter=10_000)
    theirs.fit(x.double().numpy(), y.numpy())
    tolerance = 1e-5 if newton == 0 else 1e-6
    np.testing.assert_allclose(found.params["weight"].numpy(), theirs.coef_, atol=tolerance)
    assert found.converged
    assert found.cost == pytest.approx(
        60 * risk(_single(found.params))
        + 0.5 * precision * float(found.params["weight"].square().sum()),
        rel=1e-5,
    )
    if newton:
        assert found.decrement <= 1e-9
        assert found.gradient_norm < 1e-4


def _single(params):
    return {name: value.float() for name, value in params.items()}


def test_a_tiny_precision_on_data_that_separate_converges_by_newton():
    split = gaussian_clusters(40, dim=30, num_classes=2, separation=1.0, seed=0)
    risk = gengap.Risk(seeded(lambda: linear((30,), 2)), split)
    found = posterior_mode(risk, 1e-5)
    assert found.converged and found.decrement <= 1e-9
    x, y = split.batch()
    weight = next(v for k, v in found.params.items() if "weight" in k)
    bias = next(v for k, v in found.params.items() if "bias" in k)
    assert bool(((x.double() @ weight.T + bias).argmax(1) == y).all())


def test_the_decrement_of_a_quadratic_is_the_whole_way_to_the_minimum():
    risk, precision = regression(), 0.3
    lowest = ridge(risk, precision * EYE)
    with pytest.warns(UserWarning, match="nats lower nearby. Take the point of posterior_mode"):
        away = log_evidence(risk, precision, point={"weight": lowest + 1})
    at = log_evidence(risk, precision, point={"weight": lowest})
    assert away.decrement == pytest.approx(away.cost - at.cost, rel=1e-9)
    assert away.log_occam_factor == pytest.approx(at.log_occam_factor, rel=1e-12)


class Bump(nn.Module):
    """A scalar with its lowest curvature at zero."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x):
        return x * self.w.cos()


def test_a_point_that_is_no_minimum_is_refused():
    split = Split(inputs=torch.ones(5, 1), targets=2 * torch.ones(5, 1))
    risk = gengap.Risk(Bump(), split, loss="squared_error")
    assert log_evidence(risk, 1.0).smallest == pytest.approx(6)  # 5 (2 - 1) + 1
    away = gengap.Risk(
        Bump(), Split(inputs=split.inputs, targets=0 * split.targets), loss="squared_error"
    )
    with pytest.raises(ValueError, match="with the eigenvalue -4"):
        log_evidence(away, 1.0)
    assert log_evidence(away, 1.0, curvature="gauss_newton").smallest == pytest.approx(1)


def test_a_small_network_has_a_mode_and_an_evidence():
    split = clusters()
    model = seeded(lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)))
    risk = gengap.Risk(model, split)
    mode = posterior_mode(risk, 1.0)
    assert mode.converged
    exact = log_evidence(risk, 1.0, point=mode.params)
    near = log_evidence(risk, 1.0, point=mode.params, curvature="gauss_newton")
    assert exact.log_occam_factor < 0
    assert exact.cost == near.cost == pytest.approx(mode.cost, rel=1e-12)
    assert near.smallest >= 1 - 1e-9 and 0 < exact.smallest < 1
    assert near.log_occam_factor < 0


REFUSED = {
    "zero": (0.0, "`precision` must be positive and finite; got 0.0"),
    "name": ({"bias": 1.0}, "must have one entry a parameter, weight; got bias"),
    "shape": ({"weight": torch.ones(3)}, "'weight' must be a number or have shape"),
    "negative": ({"weight": -1.0}, "'weight' must be positive and finite"),
    "matrix": (torch.ones(3, 3), r"symmetric matrix of shape \(4, 4\)"),
    "definite": (torch.ones(4, 4), "must be positive definite"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_precision_that_does_not_fit_is_refused(case):
    precision, words = REFUSED[case]
    with pytest.raises(ValueError, match=words):
        log_evidence(regression(), precision)


def test_the_callers_risk_is_left_alone():
    model = seeded(lambda: mlp((4,), 3, hidden=(5,)))
    risk = gengap.Risk(model, clusters())
    before = {name: value.clone() for name, value in risk.params.items()}
    posterior_mode(risk, 1.0, steps=5, newton=1)
    for name, value in risk.params.items():
        assert torch.equal(value, before[name]) and value.dtype == torch.float32


def test_the_decrement_of_the_mode_is_what_is_missing():
    risk, precision = regression(), 0.3
    lowest = log_evidence(risk, precision, point={"weight": ridge(risk, precision * EYE)}).cost
    found = posterior_mode(risk, precision, steps=1, newton=0)
    assert not found.converged
    assert found.decrement == pytest.approx(found.cost - lowest, rel=1e-9)


@pytest.mark.parametrize("curvature", ["hessian", "gauss_newton"])
def test_the_estimated_determinant_is_near_the_dense_one(curvature):
    split = gaussian_clusters(80, dim=150, num_classes=4, separation=2.0, seed=0)
    risk = gengap.Risk(seeded(lambda: linear((150,), 4)), split)
    mode = posterior_mode(risk, 0.5)
    asked = {"point": mode.params, "curvature": curvature}
    exact = log_evidence(risk, 0.5, **asked)
    near = log_evidence(risk, 0.5, method="lanczos", most=560, **asked)
    assert 0 < near.standard_error < 0.05 * abs(exact.log_occam_factor)
    assert near.cost == exact.cost and math.isnan(near.smallest)
    assert abs(near.value - exact.value) < 3 * near.standard_error
    assert exact.decrement <= (near.decrement if curvature == "gauss_newton" else math.inf)
    with pytest.raises(ValueError, match="must be one number for method='lanczos'"):
        log_evidence(risk, torch.eye(604), method="lanczos", **asked)
