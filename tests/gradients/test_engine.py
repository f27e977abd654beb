"""Twin: statistics of whole models. Oracle: float64 autograd, one example at a time."""

import pytest
import torch
from torch import nn

from gengap import Risk, _linear
from gengap.data import Split
from gengap.gradients import (
    gradient_statistics,
    gram,
    per_example_block_dots,
    per_example_dots,
    per_example_gradients,
    per_example_squared_norms,
    sums_of_squares,
)
from tests.gradients.engine_models import MODELS, build
from tests.reference.per_example import gradients_one_by_one

pytestmark = [
    pytest.mark.global_rng("torch"),
    pytest.mark.filterwarnings("ignore:LSTM with projections"),
]


def twin_of(risk):
    split = risk.split
    return gradients_one_by_one(risk.model, split.inputs, split.targets, risk.losses)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_norms_and_sums(name, dtype, rtol):
    model, split = build(name)
    risk = Risk(model, split, dtype=dtype)
    found = gradient_statistics(risk, check=True)
    twin = twin_of(risk)
    assert list(found.sum) == list(twin) == list(risk.params)
    scale = max(float(g.abs().max()) for g in twin.values())
    total = torch.zeros(risk.n, dtype=torch.float64)
    for key, rows in twin.items():
        squares = rows.reshape(len(rows), -1).square().sum(1)
        total += squares
        near(found.block_squared_norms[key], squares, rtol, scale**2)
        near(found.sum[key], rows.sum(0), rtol, scale)
    near(found.squared_norms, total, rtol, 0.0)
    near(found.losses, risk.per_example(), 1e-6, 0.0)
    mean = torch.cat([rows.sum(0).flatten() for rows in twin.values()])
    assert found.m_coherence == pytest.approx(float(mean.square().sum() / total.sum()), rel=rtol)


@pytest.mark.parametrize("name", MODELS)
def test_small_products_by_onednn_as_large_ones_are(name, monkeypatch):
    for limit in ("_SMALL", "_THIN", "_WIDE"):
        monkeypatch.setattr(_linear, limit, 0)
    test_norms_and_sums(name, torch.float32, 1e-4)
    test_inner_products_and_gradients(name, torch.float32, 1e-4)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_squares_entry_by_entry(name, dtype, rtol):
    model, split = build(name)
    risk = Risk(model, split, dtype=dtype, chunk=3)
    found, twin = sums_of_squares(risk), twin_of(risk)
    assert list(found) == list(twin)
    scale = max(float(g.abs().max()) for g in twin.values())
    for key, rows in twin.items():
        near(found[key], rows.square().sum(0), rtol, scale**2)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_inner_products_and_gradients(name, dtype, rtol):
    model, split = build(name, n=5)
    risk = Risk(model, split, dtype=dtype, chunk=3)
    twin = twin_of(risk)
    direction = {key: torch.randn_like(p).double() for key, p in risk.params.items()}
    scale = max(float(g.abs().max()) for g in twin.values())
    products = {
        key: (rows * direction[key]).reshape(len(rows), -1).sum(1) for key, rows in twin.items()
    }
    blocks = per_example_block_dots(risk, direction)
    assert list(blocks) == list(twin)
    for key, values in products.items():
        near(blocks[key], values, rtol, scale)
    near(per_example_dots(risk, direction), sum(products.values()), rtol, scale)
    gradients = dict(per_example_gradients(risk))
    assert list(gradients) == list(twin)
    for key, rows in twin.items():
        near(gradients[key].double(), rows, rtol, scale)
    flat = torch.cat([rows.reshape(len(rows), -1) for rows in twin.values()], 1)
    near(gram(risk), flat @ flat.T, rtol, scale**2)


def near(ours, theirs, rtol, scale):
    """Agree to rtol of the largest number compared; rounded zeros, to a tenth of it."""
    assert ours.dtype == torch.float64
    tolerance = rtol * float(theirs.abs().max()) + 0.1 * rtol * scale
    assert float((ours - theirs).abs().max()) <= tolerance


def test_chunks_and_batches_change_nothing():
    model, split = build("in place, group norm", n=70)
    whole = gradient_statistics(Risk(model, split, dtype=torch.float64))
    risk = Risk(model, split, dtype=torch.float64, chunk=9)
    parts = gradient_statistics(risk)
    near(parts.squared_norms, whole.squared_norms, 1e-12, 0.0)
    for key, value in whole.sum.items():
        near(parts.sum[key], value, 1e-12, 1.0)
    near(per_example_squared_norms(risk[[3, 60]]), whole.squared_norms[[3, 60]], 1e-12, 0.0)


def test_the_risk_is_left_as_it_was():
    model, split = build("in place, batch norm")
    risk = Risk(model, split)
    before = {key: value.clone() for key, value in risk.model.state_dict().items()}
    gradient_statistics(risk)
    per_example_dots(risk, risk.params)
    for key, value in risk.model.state_dict().items():
        assert torch.equal(before[key], value)
    assert all(p.grad is None for p in risk.model.parameters())
    assert not any("forward" in vars(m) for m in risk.model.modules())


@pytest.mark.parametrize(
    "loss", ["squared_error", lambda outputs, y: (outputs - y).abs().sum(1).sin()]
)
def test_losses_of_real_targets(loss):
    split = Split(inputs=torch.randn(6, 5), targets=torch.randn(6, 2))
    risk = Risk(nn.Sequential(nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 2)), split, loss=loss)
    twin = twin_of(risk)
    squares = sum(rows.reshape(6, -1).square().sum(1) for rows in twin.values())
    near(per_example_squared_norms(risk), squares, 1e-4, 0.0)


def test_projected_gram_is_unbiased_within_its_standard_error():
    model, split = build("mlp", n=6)
    risk = Risk(model, split, dtype=torch.float64)
    exact, k = gram(risk), 400
    norms = exact.diagonal()
    error = ((norms[:, None] * norms + exact.square()) / k).sqrt()
    deviation = (gram(risk, projection=k, seed=3) - exact) / error
    assert deviation.abs().max() < 4.5
    assert 0.3 < deviation.square().mean().sqrt() < 1.5
    assert torch.equal(gram(risk, projection=2, seed=3), gram(risk, projection=2, seed=3))


def test_what_a_direction_leaves_out_counts_as_zero():
    model, split = build("mlp")
    risk = Risk(model, split, dtype=torch.float64)
    name, rows = next(iter(twin_of(risk).items()))
    direction = {name: torch.ones_like(rows[0])}
    expected = rows.reshape(len(rows), -1).sum(1)
    torch.testing.assert_close(per_example_dots(risk, direction), expected)
    blocks = per_example_block_dots(risk, direction)
    torch.testing.assert_close(blocks.pop(name), expected)
    assert not any(value.any() for value in [per_example_dots(risk, {}), *blocks.values()])


def test_directions_must_fit():
    model, split = build("mlp")
    risk = Risk(model, split)
    with pytest.raises(ValueError, match="must name trainable parameters; got 'head'"):
        per_example_dots(risk, {"head": torch.zeros(3)})
    name, p = next(iter(risk.params.items()))
    with pytest.raises(ValueError, match="must have the shape"):
        per_example_dots(risk, {name: p[:1]})
    with pytest.raises(ValueError, match="`projection` must be a whole number"):
        gram(risk, projection=0)
