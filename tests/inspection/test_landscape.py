"""Property: the charts of a trained network. Oracles: the dense Hessian, losses by hand."""

import numpy as np
import pytest
import torch
from torch import nn

import gengap
from gengap.inspection import landscape
from gengap.measures import Measure, Value
from gengap.training import build_seeded
from tests.reference.dense_curvature import dense_hessian


@pytest.fixture(scope="module")
def drawn():
    train, _ = gengap.load("digits")
    some = train[:60]
    model = build_seeded(lambda: gengap.models.mlp(some.input_shape, 10, hidden=(6,)), 0)
    return model, some, landscape(model, some, seed=1)


def chart(found, name):
    (one,) = [chart for chart in found.charts if chart.name == name]
    return one.data


def test_the_surface_has_the_network_in_its_middle(drawn):
    model, some, found = drawn
    frame = chart(found, "surface")
    middle = frame[frame[["x", "y"]].abs().max(axis=1) < 1e-9]
    with torch.no_grad():
        x, y = some.batch(torch.arange(len(some)))
        loss = nn.functional.cross_entropy(model.eval()(x), y)
    assert middle["loss"].item() == pytest.approx(loss.item(), rel=1e-5)
    assert len(frame) == 225 and found.missing == {}


def test_a_surface_of_a_network_with_batch_norm_says_whose_statistics_it_takes(drawn):
    def caption(found):
        (one,) = [chart for chart in found.charts if chart.name == "surface"]
        return one.caption

    _, some, without = drawn

    def build():
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.BatchNorm1d(5), nn.Linear(5, 10))

    model = build_seeded(build, 0)
    assert "statistics are taken anew" in caption(landscape(model, some, seed=1))
    assert "BatchNorm" not in caption(without)


def test_the_spectrum_has_all_its_weight_and_reaches_the_largest_eigenvalue(drawn):
    model, some, found = drawn
    frame = chart(found, "spectrum")
    step = np.diff(frame["grid"]).mean()
    assert frame["density"].sum() * step == pytest.approx(1, rel=0.01)
    values = torch.linalg.eigvalsh(dense_hessian(gengap.Risk(model, some, dtype=torch.float64)))
    assert frame["grid"].max() >= values[-1].item()


def test_invariant_measures_stay_and_others_do_not(drawn):
    frame = chart(drawn[2], "invariances")
    factors = frame[frame["transformation"] == "random"].set_index("measure")["factor"]
    for name in ("loss", "path_norm", "asam", "fisher_rao_norm"):
        assert factors[name] == pytest.approx(1, rel=1e-6)
    assert factors["squared_norm"] > 10


def test_what_cannot_be_drawn_says_why():
    train, _ = gengap.load("digits")
    model = build_seeded(lambda: gengap.models.linear(train.input_shape, 10), 0)
    found = landscape(model, train[:30])
    assert [chart.name for chart in found.charts] == ["spectrum", "surface"]
    assert "rescale" in found.missing["invariances"]


def test_measures_of_my_own_are_drawn_beside_and_cost_no_other(drawn):
    def once(question):
        if any(p.abs().max() > 2 for p in question.risk.params.values()):
            raise KeyError("large weights")
        return Value(value=1.0)

    def own(name, function):
        return Measure(name=name, formula="", units="", range="", cost="0", invariant=None,
                       function=function)  # fmt: skip

    model, some, _ = drawn
    loss = own("mine", lambda question: Value(value=question.risk() + 1))
    found = landscape(model, some, own=[own("fails", once), loss], seed=1)
    frame = chart(found, "invariances").set_index("measure")
    assert frame.loc["mine", "factor"].to_numpy() == pytest.approx(1, rel=1e-6)
    assert "fails" not in frame.index and "path_norm" in frame.index
    assert "KeyError" in found.missing["fails"] and len(found.charts) == 3
