"""Twin and closed form: extreme eigenpairs of ten networks and of quadratics.

Oracle: the spectrum of the dense float64 Hessian by torch.func; spectra of our choice.
"""

import pytest
import torch

from gengap.curvature import bottom_eigenpairs, hessian, top_eigenpairs
from tests.curvature.curvature_cases import BUILD, quadratic, risk_of
from tests.reference.dense_curvature import dense_hessian


@pytest.mark.parametrize("name", BUILD)
def test_both_ends_agree_with_the_dense_hessian(name):
    risk = risk_of(name)
    dense = dense_hessian(risk)
    truth = torch.linalg.eigvalsh(dense)
    for found, values in [
        (top_eigenpairs(risk, 10, tolerance=1e-9), truth.flip(0)[:10]),
        (bottom_eigenpairs(risk, 3, tolerance=1e-9), truth[:3]),
    ]:
        assert found.converged.all()
        assert found.complete
        torch.testing.assert_close(found.values, values, rtol=1e-8, atol=1e-8 * truth.abs().max())
        residual = (dense @ found.vectors - found.vectors * found.values).norm(dim=0)
        torch.testing.assert_close(residual, found.residuals, rtol=0.1, atol=1e-12)
        assert found.orthogonality < 1e-12


def test_negative_curvature_is_seen():
    found = bottom_eigenpairs(risk_of("deep tanh"), 2, tolerance=1e-8)
    assert found.values[1] < -1e-3


@pytest.mark.parametrize("name", ["mlp", "conv", "attention"])
def test_two_hundred_steps_repeat_no_eigenvalue(name):
    risk = risk_of(name)
    truth = torch.linalg.eigvalsh(dense_hessian(risk)).flip(0)[:10]
    found = top_eigenpairs(risk, 10, tolerance=1e-30, steps=200)
    torch.testing.assert_close(found.values, truth, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("copies", [2, 3])
@pytest.mark.parametrize("basis", [None, 16])
def test_every_copy_of_a_multiple_eigenvalue_is_found(copies, basis):
    values = [9.0, 7.0, 4.0, 3.0, 2.0, 1.5, *(1.0 / (1 + i) for i in range(14))]
    found = top_eigenpairs(
        quadratic(values, copies=copies), 8, tolerance=1e-9, basis=basis, steps=2000
    )
    truth = [v for v in values for _ in range(copies)][:8]
    assert found.values.tolist() == pytest.approx(truth, rel=1e-8)
    assert found.complete
    assert found.orthogonality < 1e-12


def test_more_pairs_than_the_rank_are_completed_with_zeros():
    found = top_eigenpairs(quadratic([3.0, 2.0, 0.0, 0.0, 0.0]), 5)
    assert found.values.tolist() == pytest.approx([3, 2, 0, 0, 0], abs=1e-12)
    assert found.converged.all()


def test_a_search_cut_short_says_so():
    found = top_eigenpairs(risk_of("mlp"), 5, steps=6)
    assert not found.converged.all()
    assert not found.complete
    assert found.products == 6


def test_a_seed_gives_the_same_pairs_and_another_one_the_same_values():
    risk = risk_of("conv")
    first, again = (top_eigenpairs(hessian(risk), 3, seed=4) for _ in range(2))
    assert torch.equal(first.vectors, again.vectors)
    other = top_eigenpairs(risk, 3, seed=5)
    torch.testing.assert_close(other.values, first.values, rtol=1e-6, atol=0)
