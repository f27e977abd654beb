"""Closed form: the kernels. Oracles: scikit-learn's, and integrals over random weights."""

import pytest
import torch
from sklearn.metrics.pairwise import polynomial_kernel, rbf_kernel

from gengap.kernels import arc_cosine, gaussian, laplace, linear, polynomial


def blocks(a=40, b=30, d=5):
    g = torch.Generator().manual_seed(0)
    return (
        torch.randn(a, d, generator=g, dtype=torch.float64),
        torch.randn(b, d, generator=g, dtype=torch.float64),
    )


def close(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, torch.as_tensor(expected), rtol=0, atol=tolerance)


def test_the_smooth_kernels_are_scikit_learns():
    x, z = blocks()
    close(gaussian(x, z, 0.3), rbf_kernel(x, z, gamma=0.3))
    close(polynomial(x, z, 0.3, 3, 2.0), polynomial_kernel(x, z, degree=3, gamma=0.3, coef0=2.0))
    close(linear(x, z), x @ z.T)


def test_laplace_takes_the_euclidean_distance():
    x, z = blocks()
    close(laplace(x, z, 0.3), torch.exp(-0.3 * torch.cdist(x, z)))
    close(laplace(x, x, 0.3).diagonal(), torch.ones(len(x), dtype=torch.float64), 1e-6)


@pytest.mark.parametrize("degree", [0, 1])
def test_arc_cosine_is_the_mean_over_random_layers(degree):
    x, z = blocks(a=4, b=3)
    g = torch.Generator().manual_seed(1)
    weights = torch.randn(5, 400_000, generator=g, dtype=torch.float64)
    hidden = [(v @ weights).clamp(min=0) if degree else (v @ weights > 0).double() for v in (x, z)]
    estimate = 2 * hidden[0] @ hidden[1].T / 400_000
    close(arc_cosine(x, z, degree), estimate, 0.05 if degree else 0.005)


@pytest.mark.parametrize("degree", [0, 1])
def test_arc_cosine_bears_zeros_and_parallels(degree):
    x = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [-1.0, -1.0]], dtype=torch.float64)
    found = arc_cosine(x, x, degree)
    assert bool(torch.isfinite(found).all())
    close(found[1, 2], torch.tensor(4.0 if degree else 1.0, dtype=torch.float64), 1e-6)
    close(found[1, 3], torch.tensor(0.0, dtype=torch.float64), 1e-6)
