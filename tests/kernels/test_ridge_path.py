"""Closed form: numpy's least squares, refits without one example; twin: scikit-learn's Ridge."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.utils.estimator_checks import parametrize_with_checks

from gengap.kernels import RandomFourier, RidgePath, RidgePathClassifier

RIDGES = (0.0, 1e-3, 0.1, 10.0)


@pytest.mark.global_rng("numpy")  # scikit-learn's checks draw from it
@parametrize_with_checks([
    RidgePath(),
    RidgePathClassifier(),
    RidgePath((0.0, 1.0), dtype="float32"),
])
def test_scikit_learn_accepts_the_estimators(estimator, check):
    check(estimator)


def draw(n, d, *, targets=2, offset=5.0):
    rng = np.random.default_rng(n + d)
    x = rng.normal(size=(n, d)) + offset
    return x, x @ rng.normal(size=(d, targets)) + rng.normal(size=(n, targets)) - 3.0


@pytest.mark.parametrize(("n", "d"), [(60, 7), (7, 60), (30, 30)])
@pytest.mark.parametrize("intercept", [True, False])
def test_every_ridge_is_scikit_learns(n, d, intercept):
    x, y = draw(n, d)
    found = RidgePath(RIDGES, fit_intercept=intercept).fit(x, y)
    for place, ridge in enumerate(RIDGES[1:], start=1):
        twin = Ridge(alpha=ridge, fit_intercept=intercept, solver="svd").fit(x, y)
        np.testing.assert_allclose(found.coef_path_[place], twin.coef_, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(found.predict_path(x)[place], twin.predict(x), rtol=1e-7)
        missed = np.square(y - twin.predict(x)).sum(1).mean()
        np.testing.assert_allclose(found.residuals_[place], missed, rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(found.norms_, np.linalg.norm(found.coef_path_, axis=(1, 2)))


@pytest.mark.parametrize(("n", "d"), [(60, 7), (7, 60)])
def test_ridgeless_is_the_minimum_norm_solution(n, d):
    x, y = draw(n, d, targets=1)
    found = RidgePath(fit_intercept=False).fit(x, y[:, 0])
    np.testing.assert_allclose(found.coef_, np.linalg.lstsq(x, y[:, 0], rcond=None)[0], rtol=1e-8)
    centred = RidgePath().fit(x, y[:, 0])
    twin = np.linalg.pinv(x - x.mean(0)) @ (y[:, 0] - y.mean())
    np.testing.assert_allclose(centred.coef_, twin, rtol=1e-8)


def test_columns_that_repeat_share_their_weight():
    x, y = draw(40, 3, targets=1)
    found = RidgePath().fit(np.hstack([x, x]), y[:, 0])
    alone = RidgePath().fit(x, y[:, 0])
    np.testing.assert_allclose(found.coef_, np.tile(alone.coef_, 2) / 2, rtol=1e-8)
    assert found.condition_ == pytest.approx(alone.condition_, rel=1e-8)


@pytest.mark.parametrize(("n", "d"), [(15, 4), (9, 30), (10, 9)])
@pytest.mark.parametrize("intercept", [True, False])
def test_leave_one_out_is_refitting(n, d, intercept):
    x, y = draw(n, d, offset=0.5)
    found = RidgePath(RIDGES, fit_intercept=intercept).fit(x, y)
    for place, ridge in enumerate(RIDGES):
        missed = []
        for i in range(n):
            rest = np.delete(np.arange(n), i)
            fit = RidgePath((ridge,), fit_intercept=intercept, leave_one_out=False)
            missed.append(np.square(fit.fit(x[rest], y[rest]).predict(x[[i]])[0] - y[i]).sum())
        assert found.loo_errors_[place] == pytest.approx(np.mean(missed), rel=1e-6)
    assert found.ridge_ == RIDGES[np.argmin(found.loo_errors_)]


def test_streamed_features_are_the_same_as_whole_ones():
    x, y = draw(50, 5)
    for count in (20, 1500):  # fewer and more than the examples
        streamed = RandomFourier(num_features=count, bandwidth=0.05)
        one = RidgePath(RIDGES, features=streamed).fit(x, y)
        other = RidgePath(RIDGES).fit(streamed(torch.tensor(x)).numpy(), y)
        np.testing.assert_allclose(one.coef_path_, other.coef_path_, rtol=1e-6, atol=1e-9)
        inputs = streamed(torch.tensor(x[:7])).numpy()
        np.testing.assert_allclose(one.predict_path(x[:7]), other.predict_path(inputs), rtol=1e-8)


def test_classes_are_the_largest_indicator_and_labels_may_be_words():
    x, _ = draw(80, 6)
    y = np.where(x[:, 0] > 5.4, "high", np.where(x[:, 1] > 5, "middle", "low"))
    found = RidgePathClassifier(RIDGES).fit(x, y)
    values = RidgePath((found.ridge_,)).fit(x, (y[:, None] == found.classes_) * 1.0).predict(x)
    np.testing.assert_array_equal(found.predict(x), found.classes_[values.argmax(1)])
    assert found.loo_mistakes_.min() == found.loo_mistakes_[list(RIDGES).index(found.ridge_)]
    np.testing.assert_array_equal(
        found.predict_path(x)[list(RIDGES).index(found.ridge_)], found.predict(x)
    )


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"ridges": ()}, "`ridges` must hold at least one"),
        ({"ridges": (-1.0,)}, "`ridges` must be at least 0 and finite; got -1.0"),
        ({"dtype": "float16"}, "`dtype` must be one of"),
    ],
)
def test_wrong_settings_are_told(how, said):
    x, y = draw(10, 3)
    with pytest.raises(ValueError, match=said):
        RidgePath(**how).fit(x, y)
