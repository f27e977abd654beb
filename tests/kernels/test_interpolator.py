"""Closed form: kernel interpolation. Oracles: dense float64 solves, refits, scikit-learn, SGD."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import polynomial_kernel, rbf_kernel
from sklearn.utils.estimator_checks import parametrize_with_checks

from gengap.kernels import KernelInterpolator, KernelInterpolatorClassifier, gaussian
from gengap.kernels._memory import factor_bytes, iteration_bytes
from gengap.kernels._panels import WIDTH

SMALL = dict(bandwidth=0.2)


def examples(n=1000, d=6, c=2, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, d)) + 5  # off the origin: distances cancel unless centred
    return x, np.stack([np.sin(k + x.sum(1)) for k in range(c)], axis=1)


@parametrize_with_checks([
    KernelInterpolator(),
    KernelInterpolator(solver="iterative"),
    KernelInterpolator(kernel="linear", dtype="float64"),
    KernelInterpolatorClassifier(),
    KernelInterpolatorClassifier(kernel="laplace"),
])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.global_rng  # some of the checks draw from it
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_coefficients_norm_and_predictions_are_those_of_a_dense_solve(dtype, ridge):
    x, y = examples()
    found = KernelInterpolator(dtype=dtype, ridge=ridge, tolerance=1e-10, **SMALL).fit(x, y)
    matrix = rbf_kernel(x, gamma=0.2)
    expected = np.linalg.solve(matrix + ridge * np.eye(len(x)), y)
    np.testing.assert_allclose(found.dual_coef_, expected, rtol=1e-6, atol=1e-7)
    inner = (expected * (matrix @ expected)).sum(0)
    np.testing.assert_allclose(found.rkhs_norms_, inner**0.5, rtol=1e-8)
    np.testing.assert_allclose(found.rkhs_norm_, inner.sum() ** 0.5, rtol=1e-8)
    new, _ = examples(n=50, seed=1)
    np.testing.assert_allclose(
        found.predict(new), rbf_kernel(new, x, gamma=0.2) @ expected, atol=1e-8
    )
    measured = np.linalg.norm(y - (matrix + ridge * np.eye(len(x))) @ found.dual_coef_)
    np.testing.assert_allclose(found.residual_, measured / np.linalg.norm(y), rtol=0.5, atol=1e-11)


def test_refinement_starts_from_float32_and_reaches_float64():
    x, y = examples()
    rough = KernelInterpolator(refine=False, **SMALL).fit(x, y)
    fine = KernelInterpolator(tolerance=1e-12, **SMALL).fit(x, y)
    assert rough.residuals_ == ()
    assert 1e-8 < rough.residual_ < 1e-3
    assert fine.residuals_[0] == pytest.approx(rough.residual_, rel=0.3)
    assert fine.converged_
    assert fine.residual_ < 1e-12


def test_it_agrees_with_scikit_learns_kernel_ridge():
    x, y = examples(c=1)
    peer = KernelRidge(kernel="polynomial", degree=2, gamma=0.1, coef0=0.5, alpha=2.0).fit(x, y)
    ours = KernelInterpolator(
        "polynomial", bandwidth=0.1, degree=2, offset=0.5, ridge=2.0, tolerance=1e-10
    ).fit(x, y)
    new, _ = examples(n=50, seed=1)
    np.testing.assert_allclose(ours.predict(new), peer.predict(new), atol=1e-6)


def test_the_iteration_reaches_the_same_solution_and_shows_how():
    x, y = examples()
    direct = KernelInterpolator(dtype="float64", ridge=0.01, **SMALL).fit(x, y)
    found = KernelInterpolator(
        dtype="float64",
        ridge=0.01,
        solver="iterative",
        rank=100,
        tolerance=1e-9,
        max_iterations=400,
        **SMALL,
    ).fit(x, y)
    assert found.solver_ == "iterative"
    assert found.converged_
    assert len(found.residuals_) > 2
    assert found.residuals_[-1] == pytest.approx(found.residual_, rel=0.3)
    np.testing.assert_allclose(found.predict(x), direct.predict(x), atol=1e-7)


def test_a_preconditioner_saves_products():
    x, y = examples()
    few, many = (
        KernelInterpolator(solver="iterative", rank=rank, ridge=0.1, tolerance=1e-3, **SMALL)
        .fit(x, y)
        .residuals_
        for rank in (400, 5)
    )
    assert len(few) < 0.6 * len(many)


def test_leaving_one_out_equals_fitting_without_it():
    x, y = examples()
    for ridge in (0.0, 0.5):
        found = KernelInterpolator(dtype="float64", ridge=ridge, **SMALL).fit(x, y)
        for i in (0, WIDTH - 1, WIDTH, 999):
            kept = np.arange(len(x)) != i
            other = KernelInterpolator(dtype="float64", ridge=ridge, **SMALL).fit(x[kept], y[kept])
            expected = y[i] - other.predict(x[[i]])[0]
            np.testing.assert_allclose(found.loo_errors_[i], expected, rtol=1e-6, atol=1e-9)


def test_the_share_of_leave_one_out_mistakes_is_that_of_refits():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(60, 2))
    labels = np.where(x[:, 0] + generator.normal(size=60) > 0, "yes", "no")
    arguments = dict(bandwidth=5.0, ridge=0.1)
    found = KernelInterpolatorClassifier(**arguments).fit(x, labels)
    wrong = 0
    for i in range(60):
        kept = np.arange(60) != i
        other = KernelInterpolatorClassifier(**arguments).fit(x[kept], labels[kept])
        wrong += other.predict(x[[i]])[0] != labels[i]
    assert 5 < wrong < 55
    assert found.loo_error_ == pytest.approx(wrong / 60)


def test_the_condition_number_is_that_of_the_eigenvalues():
    x, y = examples()
    found = KernelInterpolator(dtype="float64", ridge=0.01, **SMALL).fit(x, y)
    values = np.linalg.eigvalsh(rbf_kernel(x, gamma=0.2) + 0.01 * np.eye(1000))
    assert found.condition_ == pytest.approx(values[-1] / values[0], rel=0.02)
    expected = np.linalg.norm(y) / (values[0] * np.linalg.norm(found.dual_coef_))
    assert found.effective_condition_ == pytest.approx(expected, rel=0.02)
    assert 1 <= found.effective_condition_ <= found.condition_


def test_a_gaussian_process_has_the_same_mean():
    x, y = examples(n=100, c=1)
    peer = GaussianProcessRegressor(RBF(2.0), alpha=0.1, optimizer=None).fit(x, y[:, 0])
    ours = KernelInterpolator(bandwidth=1 / 8, ridge=0.1, tolerance=1e-10).fit(x, y[:, 0])
    np.testing.assert_allclose(ours.predict(x), peer.predict(x), atol=1e-7)


def test_a_callable_is_a_kernel():
    x, y = examples(n=100)
    named = KernelInterpolator(**SMALL).fit(x, y)
    own = KernelInterpolator(lambda a, b: gaussian(a, b, 0.2)).fit(x, y)
    np.testing.assert_allclose(own.predict(x + 0.1), named.predict(x + 0.1), atol=1e-5)
    numpy = KernelInterpolator(lambda a, b: polynomial_kernel(a, b, degree=1), ridge=1.0).fit(x, y)
    assert numpy.converged_


def test_sgd_from_zero_ends_at_the_same_weights():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(20, 60)) / 60**0.5, generator.normal(size=20)
    weights, inputs = np.zeros(60), x
    for _ in range(3000):
        for i in generator.permutation(20):
            weights -= 0.8 * (inputs[i] @ weights - y[i]) * inputs[i]
    found = KernelInterpolator("linear", tolerance=1e-12).fit(x, y)
    np.testing.assert_allclose(x.T @ found.dual_coef_, weights, atol=1e-8)
    np.testing.assert_allclose(np.linalg.pinv(x) @ y, weights, atol=1e-8)
    assert found.rkhs_norm_ == pytest.approx(np.linalg.norm(weights), rel=1e-8)


def test_sgd_from_elsewhere_ends_elsewhere():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(20, 60)) / 60**0.5, generator.normal(size=20)
    weights = generator.normal(size=60)
    for _ in range(3000):
        for i in generator.permutation(20):
            weights -= 0.8 * (x[i] @ weights - y[i]) * x[i]
    found = KernelInterpolator("linear").fit(x, y)
    assert np.abs(x @ weights - y).max() < 1e-8
    assert np.linalg.norm(weights) > 1.2 * found.rkhs_norm_


def test_more_examples_than_features_are_not_interpolated_and_that_is_said():
    x, y = examples(n=100)
    with pytest.warns(ConvergenceWarning, match="relative residual"):
        found = KernelInterpolator("linear").fit(x, y)
    best = np.linalg.lstsq(x, y, rcond=None)[0]
    assert not found.converged_
    assert found.nugget_ > 0
    np.testing.assert_allclose(found.predict(x), x @ best, atol=1e-3)


def test_equal_examples_with_equal_targets_are_fitted():
    x, y = examples(n=50)
    x[7], y[7] = x[3], y[3]
    found = KernelInterpolator(**SMALL).fit(x, y)
    assert found.converged_
    np.testing.assert_allclose(found.predict(x), y, atol=1e-4)


def test_equal_examples_with_other_targets_are_refused_unless_there_is_a_ridge():
    x, y = examples(n=50)
    x[7] = x[3]
    with pytest.raises(ValueError, match="different targets for examples 3 and 7"):
        KernelInterpolator(**SMALL).fit(x, y)
    found = KernelInterpolator(ridge=0.1, **SMALL).fit(x, y)
    assert found.converged_


@pytest.mark.parametrize("solver", ["cholesky", "iterative"])
def test_a_kernel_that_is_not_positive_is_refused(solver):
    x, y = examples(n=200)
    with pytest.raises(ValueError, match="`kernel` must be positive semidefinite; got"):
        KernelInterpolator(lambda a, b: -torch.cdist(a, b), solver=solver, rank=10).fit(x, y)


@pytest.mark.parametrize("solver", ["cholesky", "iterative"])
def test_a_kernel_that_is_not_finite_is_refused(solver):
    x, y = examples(n=20)
    with pytest.raises(ValueError, match="`kernel` must be finite; got nan for examples 0 and 0"):
        KernelInterpolator(lambda a, b: a @ b.T * torch.nan, solver=solver).fit(x, y)
    with pytest.raises(ValueError, match="`kernel` must be finite; got inf"):
        KernelInterpolator("polynomial", degree=90, bandwidth=1e3, solver=solver).fit(x, y)


def test_a_kernel_of_the_wrong_shape_or_without_symmetry_is_refused():
    x, y = examples(n=20)
    with pytest.raises(ValueError, match="20 rows and 20 columns"):
        KernelInterpolator(lambda a, b: a.sum(1)).fit(x, y)
    with pytest.raises(ValueError, match="`kernel` must be symmetric"):
        KernelInterpolator(lambda a, b: a[:, :1] * torch.ones(len(b))).fit(x, y)


def test_too_little_memory_is_said_before_anything_is_allocated():
    x, y = np.zeros((30_000, 1)), np.zeros(30_000)
    x[:, 0] = np.arange(30_000)
    with pytest.raises(MemoryError, match=r"30,000 examples .* takes 1\.8\d GB .* got 1 GB free"):
        KernelInterpolator(solver="cholesky", memory=10**9).fit(x, y)
    with pytest.raises(MemoryError, match="preconditioner of rank 1000"):
        KernelInterpolator(memory=10**8).fit(x, y)


def test_where_the_matrix_does_not_fit_the_iteration_takes_over():
    x, y = examples(n=3000)
    between = (factor_bytes(3000, 6, 2, 4) + iteration_bytes(3000, 6, 2, 4, 50)) // 2
    found = KernelInterpolator(memory=between, ridge=1.0, rank=50, tolerance=1e-3, **SMALL)
    assert found.fit(x, y).solver_ == "iterative"
    assert found.converged_


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda fit: pickle.loads(pickle.dumps(fit))])
def test_a_copy_says_that_it_has_no_factor(copied):
    x, y = np.random.default_rng(0).normal(size=(9, 2)), np.arange(9.0)
    found = copied(KernelInterpolator(**SMALL).fit(x, y))
    for name in ("loo_errors_", "condition_"):
        with pytest.raises(AttributeError, match=r"a copy or pickle of a fit leaves it out"):
            getattr(found, name)
    assert found.fit(x, y).loo_errors_.shape == (9, 1)


def test_what_needs_the_factor_says_so_where_it_is_gone():
    x, y = examples(n=20)
    found = KernelInterpolator(keep_factor=False, **SMALL).fit(x, y)
    assert not hasattr(found, "loo_errors_")
    with pytest.raises(AttributeError, match="`keep_factor` and `solver` must be True and"):
        found.condition_  # noqa: B018


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(kernel="sinc"), "`kernel` must be one of 'gaussian'"),
        (dict(bandwidth=-1.0), "`bandwidth` must be positive"),
        (dict(ridge=-1.0), "`ridge` must be at least 0"),
        (dict(dtype="float16"), "`dtype` must be one of 'float32', 'float64'"),
        (dict(solver="lu"), "`solver` must be one of"),
        (dict(kernel="arc_cosine", degree=4), r"`degree` must be one of 0, 1"),
    ],
)
def test_bad_arguments_are_refused_in_a_sentence(arguments, message):
    x, y = examples(n=20)
    with pytest.raises(ValueError, match=message):
        KernelInterpolator(**arguments).fit(x, y)


def test_no_warning_where_all_is_well():
    x, y = examples(n=100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        KernelInterpolator(**SMALL).fit(x, y)


def test_a_verbose_fit_says_how_far_it_is(capsys, monkeypatch):
    monkeypatch.setattr("gengap.kernels._tell.EVERY", 0.0)
    x, y = examples()
    KernelInterpolator(**SMALL).fit(x, y)
    assert capsys.readouterr() == ("", "")
    found = KernelInterpolator(verbose=True, dtype="float64", **SMALL).fit(x, y)
    out, err = capsys.readouterr()
    assert out == ""
    assert f"column {WIDTH} of 1,000 of the matrix is filled" in err
    assert "100% of the factorization is done" in err
    assert not found.residuals_
    slow = dict(solver="iterative", dtype="float64", ridge=0.1, rank=50)
    KernelInterpolator(verbose=True, **slow, **SMALL).fit(x, y)
    assert "products of at most 100, to reach 1e-06" in capsys.readouterr().err
