"""Twin: RidgePath, fitted anew for every count of features."""

import numpy as np
import pytest
import torch

from gengap.kernels import RandomFourier, RidgePath, feature_trend

RIDGES = (0.0, 0.1)
COUNTS = (5, 39, 500, 512, 700)


def test_every_count_is_fitted_as_if_alone():
    draws = torch.Generator().manual_seed(3)
    x = torch.randn(40, 4, generator=draws).double()
    test = torch.randn(7, 4, generator=draws).double()
    y = torch.stack([x[:, 0].sin(), x.prod(1)], dim=1) + 2
    whole = RandomFourier(num_features=800, bandwidth=0.3)
    found = list(feature_trend(whole.blocks, x, y, test, counts=COUNTS, ridges=RIDGES))
    assert [point.num_features for point in found] == list(COUNTS)
    for point in found:
        columns = whole(x).numpy()[:, : point.num_features]
        alone = RidgePath(RIDGES).fit(columns, y.numpy())
        wanted = alone.predict_path(whole(test).numpy()[:, : point.num_features])
        np.testing.assert_allclose(point.predictions.numpy(), wanted, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(point.norms.numpy(), alone.norms_, rtol=1e-6)
        np.testing.assert_allclose(point.residuals.numpy(), alone.residuals_, atol=1e-9)
        errors = (point.left_out - y).square().sum(2).mean(1).numpy()
        np.testing.assert_allclose(errors, alone.loo_errors_, rtol=1e-5)
    assert [point.rank for point in found] == [5, 39, 39, 39, 39]


def test_counts_must_grow():
    x = torch.zeros(4, 2)
    with pytest.raises(ValueError, match="`counts` must be a whole number of at least 6; got 5"):
        list(feature_trend(RandomFourier().blocks, x, x, x, counts=(5, 5)))
