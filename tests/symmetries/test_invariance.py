"""Closed form: the factors by which measures change under changes that keep the function.

Oracle: measures whose change is known: squared lengths of layers, the path norm, the loss, the
trace of the dense Hessian of a linear unit.
"""

import math

import pytest
import torch
from torch import nn

import gengap
from gengap.symmetries import invariance
from tests.symmetries import user_models as users

pytestmark = pytest.mark.global_rng("torch")


def setting():
    model = users.randomized(gengap.models.mlp((4,), 3, hidden=(5, 6)))
    split = gengap.data.as_split(users.drawn(20, 4), torch.arange(20) % 3)
    return model, split


def first_layer(risk):
    return float(risk.params["1.weight"].square().sum())


def last_layer(risk):
    return float(risk.params["7.weight"].square().sum())


def path_norm(risk):
    weights = [p for name, p in risk.params.items() if name.endswith("weight")]
    product = torch.eye(4, dtype=torch.float64)
    for weight in weights:
        product = weight.square() @ product
    return float(product.sum())


def positions(risk):
    """Changes when units move: weights weighed by their place."""
    weight = risk.params["1.weight"]
    return float((weight.square().sum(1) * torch.arange(1, 6)).sum())


def test_factors_are_those_of_measures_whose_change_is_known():
    model, split = setting()
    frame = invariance(
        [first_layer, last_layer, path_norm, positions, lambda risk: risk()],
        model,
        split,
        factor=10.0,
    ).set_index(["measure", "transformation"])
    assert frame.loc[("first_layer", "worst"), "factor"] == pytest.approx(100)
    assert frame.loc[("last_layer", "worst"), "factor"] == pytest.approx(100)
    for name in ("path_norm", "<lambda>"):
        for transformation in ("permuted", "random", "worst"):
            assert frame.loc[(name, transformation), "factor"] == pytest.approx(1, rel=1e-9)
    assert frame.loc[("first_layer", "permuted"), "factor"] == pytest.approx(1, rel=1e-12)
    assert abs(math.log(frame.loc[("positions", "permuted"), "factor"])) > 1e-3
    assert 1 / 100 < frame.loc[("first_layer", "random"), "factor"] < 100
    assert (frame["difference"] < 1e-12).all()
    assert frame.loc[("path_norm", "worst"), "evaluations"] == 2 * 2 * 2


def test_measures_may_be_named_and_return_something_with_a_value():
    class Result:
        value = 2.0

    model, split = setting()
    frame = invariance({"two": lambda risk: Result()}, model, split, sweeps=0, draws=1)
    assert list(frame["measure"]) == ["two", "two"] and (frame["factor"] == 1).all()
    assert list(frame["transformation"]) == ["permuted", "random"]


def test_the_frame_draws_itself():
    from gengap.report import invariances

    model, split = setting()
    frame = invariance([first_layer, path_norm], model, split, draws=1)
    assert invariances(frame, name="table").data.equals(frame)


def test_nonsense_is_one_sentence():
    model, split = setting()
    with pytest.raises(TypeError, match="`measure` must be a function of a risk, or several"):
        invariance([3], model, split)
    with pytest.raises(ValueError, match="`factor` must be positive and finite"):
        invariance(first_layer, model, split, factor=-1)
    smooth = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    with pytest.raises(ValueError, match="`model` must have units to rescale"):
        invariance(first_layer, smooth, split)
