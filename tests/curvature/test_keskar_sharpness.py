"""Closed form: the largest rise of a convex quadratic in a box is at a corner; all are tried."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from gengap import Risk
from gengap.curvature import keskar_sharpness
from gengap.curvature._random_subspace import random_subspace
from tests.curvature.quadratic import FIRST, SECOND, network, regression, rescaled


def corners(widths):
    return np.array(list(itertools.product((-1.0, 1.0), repeat=len(widths)))) * widths


def rises(displacements, hessian):
    return 0.5 * np.einsum("ki,ij,kj->k", displacements, hessian, displacements)


@pytest.mark.parametrize("method", ["lbfgs", "ascent"])
@pytest.mark.parametrize(
    ("p", "noise", "epsilon"), [(1, 0.0, 1e-3), (3, 0.5, 5e-4), (6, 0.0, 5e-4), (8, 0.3, 1e-3)]
)
def test_the_maximum_in_the_full_space_is_the_best_corner(p, noise, epsilon, method):
    risk, hessian = regression(p=p, noise=noise, seed=p)
    x = risk.params["weight"].numpy().ravel()
    best = rises(corners(epsilon * (np.abs(x) + 1)), hessian).max()
    found = keskar_sharpness(risk, epsilon=epsilon, starts=30, method=method)
    assert found.value == pytest.approx(100 * best / (1 + risk()), rel=1e-9)
    assert max(found.rises) == pytest.approx(best, rel=1e-9)
    assert found.loss == pytest.approx(risk())
    rise = 0.5 * found.displacement.numpy() @ hessian @ found.displacement.numpy()
    assert rise == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize("columns", ["normal", "unit", "smoothout"])
@pytest.mark.parametrize("method", ["lbfgs", "ascent"])
def test_the_maximum_in_a_subspace_is_the_best_corner_of_its_box(columns, method):
    risk, hessian = regression(p=12, n=30)
    x = risk.params["weight"].numpy().ravel()
    cpu = torch.device("cpu")
    a = random_subspace(12, 4, columns=columns, seed=3, device=cpu).matrix.double().numpy()
    widths = 1e-3 * (np.abs(np.linalg.pinv(a) @ x) + 1)
    best = rises(corners(widths), a.T @ hessian @ a).max()
    found = keskar_sharpness(
        risk, subspace=4, columns=columns, seed=3, starts=8, method=method, iterations=30
    )
    assert found.value == pytest.approx(100 * best / (1 + risk()), rel=1e-9)
    inside = np.linalg.pinv(a) @ found.displacement.numpy()
    assert (np.abs(inside) <= widths * (1 + 1e-9)).all()
    np.testing.assert_allclose(a @ inside, found.displacement.numpy(), atol=1e-12)


def test_the_matrix_of_the_other_implementation_has_normalized_rows_for_a_pseudo_inverse():
    a = random_subspace(40, 5, columns="smoothout", seed=0, device=torch.device("cpu")).matrix
    np.testing.assert_allclose(np.linalg.norm(np.linalg.pinv(a), axis=1), 1, rtol=1e-5)
    unit = random_subspace(40, 5, columns="unit", seed=0, device=torch.device("cpu")).matrix
    np.testing.assert_allclose(unit.norm(dim=0), 1, rtol=1e-5)


def test_a_search_from_the_middle_would_find_nothing_and_from_a_random_point_does():
    risk, _ = regression(p=6)
    assert torch.cat([g.flatten() for g in risk.gradient().values()]).abs().max() < 1e-14
    found = keskar_sharpness(risk)
    assert found.value > 0 and min(found.rises) > 0
    assert len(found.rises) == len(found.messages) == 3
    assert all(found.messages) and 6 <= found.evaluations <= 100
    assert found.passes == pytest.approx(found.evaluations + 1 / 3)


def test_the_spread_over_starts_is_that_of_the_local_maxima():
    risk, hessian = regression(p=6, seed=6)
    found = keskar_sharpness(risk, starts=12)
    x = risk.params["weight"].numpy().ravel()
    values = rises(corners(1e-3 * (np.abs(x) + 1)), hessian)
    for rise in found.rises:
        assert np.abs(values / rise - 1).min() < 1e-6
    assert found.spread == pytest.approx(1 - min(found.rises) / max(found.rises))


def test_same_seed_same_number_and_other_seeds_other_starts():
    model, split = network(steps=20)
    risk = Risk(model, split)
    first, again = keskar_sharpness(risk, seed=1), keskar_sharpness(risk, seed=1)
    assert first.rises == again.rises
    assert keskar_sharpness(risk, seed=2).rises != first.rises


@pytest.mark.parametrize("subspace", [None, 10])
def test_it_grows_with_the_box_and_with_the_iterations_and_float32_is_no_noise(subspace):
    model, split = network(steps=200)
    risk = Risk(model.float(), split)
    assert risk.dtype is torch.float32
    small, large = (keskar_sharpness(risk, epsilon=e, subspace=subspace) for e in (5e-4, 1e-3))
    assert 0 < 1.5 * small.value < large.value
    short = keskar_sharpness(risk, epsilon=0.1, subspace=subspace, iterations=1, starts=1)
    long = keskar_sharpness(risk, epsilon=0.1, subspace=subspace, iterations=20, starts=1)
    assert short.value <= long.value
    wide = keskar_sharpness(Risk(model.double(), split), epsilon=1e-3, subspace=subspace)
    assert large.value == pytest.approx(wide.value, rel=1e-9)


def test_a_rescaled_twin_has_any_sharpness():
    model, split = network(steps=300)
    values = [
        keskar_sharpness(Risk(rescaled(model, FIRST, SECOND, f), split)).value
        for f in (1.0, 1e-2, 1e-4)
    ]
    assert values[0] < values[1] / 10 < values[2] / 100


def test_a_constant_model_has_no_sharpness_and_says_why():
    model, split = network()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    found = keskar_sharpness(Risk(Constant(), split))
    assert found.value == 0 and set(found.messages) == {"the gradient at the start is zero"}


class Constant(nn.Module):
    """Adds a parameter to all logits, which no loss sees."""

    def __init__(self):
        super().__init__()
        self.level = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return torch.zeros(len(x), 3) + 0 * self.level


class Detached(Constant):
    def forward(self, x):
        return torch.zeros(len(x), 3) + self.level.detach()


def test_what_cannot_be_measured_is_told_in_one_sentence():
    model, split = network()
    with pytest.raises(ValueError, match="`model` must give an output that depends on its param"):
        keskar_sharpness(Risk(Detached(), split))
    with pytest.raises(ValueError, match="must hold at least one example"):
        keskar_sharpness(Risk(model, split)[[]])
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"finite parameters; '0.weight' holds NaN"):
        keskar_sharpness(Risk(model, split))
    model, split = network()
    x = split.batch()[0].clone()
    x[3] = torch.nan
    with pytest.raises(ValueError, match=r"must be finite at the model's parameters; got nan"):
        keskar_sharpness(Risk(model, replace(split, inputs=x)))
    with pytest.raises(ValueError, match="must be at least 0; got -1"):
        keskar_sharpness(Risk(model, split, loss=lambda z, y: 0 * z.sum(1) - 1))
    with pytest.raises(ValueError, match="at most the number of parameters, 83; got 84"):
        keskar_sharpness(Risk(model, split), subspace=84)
    for option in ({"epsilon": 0.0}, {"starts": 0}, {"iterations": 0}, {"subspace": 0},
                   {"method": "adam"}, {"columns": "cauchy", "subspace": 2}):  # fmt: skip
        with pytest.raises(ValueError, match=f"`{next(iter(option))}` must be"):
            keskar_sharpness(Risk(model, split), **option)
