"""Property: what `check=True` sees, and what is refused before a wrong number comes of it.

Oracle: models whose per-example gradients the engine is known to get wrong, or right.
"""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from gengap import Risk
from gengap.data import Split, as_split
from gengap.gradients import (
    CoherenceMeter,
    _engine,
    _self_check,
    gradient_statistics,
    gram,
    per_example_squared_norms,
)
from gengap.optim import WinsorizedSGD
from gengap.training import build_seeded
from tests.gradients.engine_models import build
from tests.gradients.meter_oracle import gradients_one_by_one

pytestmark = [
    pytest.mark.global_rng("torch"),
    pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad"),
]


def made(kind):
    return build_seeded(kind, 0)


def test_the_check_names_a_parameter_that_does_not_add_up():
    model, split = build("mlp")
    risk = Risk(model, split)
    found = gradient_statistics(risk)
    name = list(found.sum)[2]
    wrong = {**found.sum, name: 1.01 * found.sum[name]}
    with pytest.raises(ValueError, match=f"sum of gradients of parameter '{name}'"):
        _self_check.check_sums(risk, lambda _: wrong)
    norms = {**found.block_squared_norms, name: found.block_squared_norms[name].flip(0)}
    with pytest.raises(ValueError, match=f"example 0 of parameter '{name}'"):
        _self_check.check_norms(risk, norms, range(risk.n))


class Packed(nn.Module):
    """Leaves rows of padding out before a layer: how many an example has goes with the data."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(2, 8), nn.Linear(8, 3)

    def forward(self, x):
        kept = x[..., 2] > 0
        rows = x.new_zeros(*kept.shape, 8)
        rows[kept] = self.inner(x[kept][:, :2]).tanh()
        return self.head(rows.sum(1))


class Sorted(Packed):
    """Puts long examples first."""

    def forward(self, x):
        order = (x[..., 2] > 0).sum(1).argsort(descending=True, stable=True)
        found = self.head(self.inner(x[order][..., :2]).tanh().sum(1))
        return found[order.argsort()]


def lengths(odd):
    """Return the risk of 64 examples of length 4, but for these."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(64, 5, 3, generator=draw, dtype=torch.float64)
    lengths = torch.full((64,), 4)
    lengths[list(odd)] = torch.tensor([3, 5])
    x[..., 2] = torch.where(torch.arange(5) < lengths[:, None], 1, -1)
    return Split(inputs=x, targets=torch.arange(64) % 3, num_classes=3)


@pytest.mark.parametrize("odd", [(20, 21), (33, 60), (1, 2)])
@pytest.mark.parametrize("kind", [Packed, Sorted])
def test_rows_that_go_with_the_data_are_told_apart(kind, odd):
    split, model = lengths(odd), made(kind).double()
    twin = gradients_one_by_one(model, split.inputs, split.targets)
    expected = sum(g.square().sum(1) for g in twin.values())
    for chunk in (64, 16):
        risk = Risk(model, split, chunk=chunk)
        found = gradient_statistics(risk, check=True)
        torch.testing.assert_close(found.squared_norms, expected, rtol=1e-9, atol=0)
        whole = torch.cat(list(twin.values()), 1)
        torch.testing.assert_close(gram(risk), whole @ whole.T, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("odd", [(20, 21), (33, 60), (60, 61)])
@pytest.mark.parametrize("kind", [Packed, Sorted])
def test_a_meter_refuses_rows_that_go_with_the_data(kind, odd):
    split, model = lengths(odd), made(kind).double()
    optimizer = WinsorizedSGD(model.parameters(), lr=0.1, percent=20, model=model)
    with CoherenceMeter(model), pytest.raises(ValueError, match="must keep the examples apart"):
        model(split.inputs)
    with optimizer.robust(), pytest.raises(ValueError, match="must keep the examples apart"):
        model(split.inputs)


def test_models_that_move_no_rows_are_not_looked_at_again(monkeypatch):
    monkeypatch.setattr(_engine, "misplaced", None)
    for name in ("mlp", "alexnet", "inception", "resnet, batch norm", "in place, group norm"):
        gradient_statistics(Risk(*build(name)))


@pytest.mark.parametrize("odd", [(20, 21), (33, 60)])
def test_the_check_sees_every_example_of_the_first_batch(odd, monkeypatch):
    monkeypatch.setattr(_engine, "misplaced", lambda *_: set())
    risk = Risk(made(Packed).double(), lengths(odd))
    with pytest.raises(ValueError, match=f"norm for example {odd[0]} of parameter 'inner.weight'"):
        gradient_statistics(risk, check=True)


def test_the_check_takes_sparse_gradients_and_parameters_without_numbers():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.head = nn.Embedding(9, 4, sparse=True), nn.Linear(4, 3)
            self.nothing = nn.Parameter(torch.zeros(0))

        def forward(self, tokens):
            return self.head(self.table(tokens).tanh().mean(1)) + self.nothing.sum()

    tokens = torch.arange(42).reshape(6, 7) % 9
    split = as_split(tokens, torch.arange(6) % 3, num_classes=3, layout="tokens")
    risk = Risk(made(Net), split)
    found = gradient_statistics(risk, check=True)
    assert found.squared_norms.shape == (6,) and found.sum["nothing"].shape == (0,)


@pytest.mark.parametrize("inside", [False, True])
def test_a_reentrant_checkpoint_is_refused_for_it_hides_parameters(inside):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.head = nn.Linear(5, 4), nn.Linear(4, 3)

        def forward(self, x):
            x = x.detach().requires_grad_() if inside else x + 0 * self.head.bias.sum()
            return self.head(checkpoint(self.inner, x, use_reentrant=True))

    risk = Risk(made(Net), as_split(torch.ones(6, 5), torch.arange(6) % 3, num_classes=3))
    for ask in (gradient_statistics, Risk.gradient, per_example_squared_norms):
        with pytest.raises(ValueError, match="checkpoints with `use_reentrant=False`"):
            ask(risk)


def test_a_reentrant_checkpoint_of_what_is_frozen_hides_nothing():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk, self.head = nn.Linear(5, 4).requires_grad_(False), nn.Linear(4, 3)

        def forward(self, x):
            found = checkpoint(self.trunk, x.detach().requires_grad_(), use_reentrant=True)
            return self.head(found)

    risk = Risk(made(Net), as_split(torch.ones(6, 5), torch.arange(6) % 3, num_classes=3))
    assert set(gradient_statistics(risk, check=True).sum) == {"head.weight", "head.bias"}


def test_a_gradient_that_is_nothing_but_rounding_is_no_error():
    """A bias before an InstanceNorm does not change the outputs: float64 says that all is well."""
    model = made(
        lambda: nn.Sequential(
            nn.ConvTranspose2d(3, 5, 3, stride=2),
            nn.InstanceNorm2d(5, affine=True),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(20, 4),
        )
    )
    draw = torch.Generator().manual_seed(0)
    for _ in range(4):
        x = torch.randn(7, 3, 24, 24, generator=draw)
        risk = Risk(model, as_split(x, torch.arange(7) % 4))
        found = gradient_statistics(risk, check=True)
        assert found.block_squared_norms["0.bias"].max() < 1e-9 * found.squared_norms.max()


class Faint(nn.Module):
    """A parameter whose gradients are a ten-thousandth of the others'."""

    def __init__(self):
        super().__init__()
        self.head, self.faint = nn.Linear(3, 4), nn.Parameter(torch.zeros(4))

    def forward(self, x):
        return self.head(x) + 1e-4 * self.faint


def test_a_small_sum_that_is_wrong_in_float64_too_is_named():
    risk = Risk(made(Faint), as_split(torch.randn(7, 3), torch.arange(7) % 4))

    def wrong(risk):
        sums = gradient_statistics(risk).computed_sum
        return {**sums, "faint": 1.05 * sums["faint"]}

    _self_check.check_sums(risk, lambda risk: gradient_statistics(risk).computed_sum)
    with pytest.raises(ValueError, match="sum of gradients of parameter 'faint'"):
        _self_check.check_sums(risk, wrong)


def test_where_float64_cannot_decide_the_doubt_is_told():
    class Single(Faint):
        def forward(self, x):
            return super().forward(x.float())

    risk = Risk(made(Single), as_split(torch.randn(7, 3), torch.arange(7) % 4))
    found = gradient_statistics(risk).computed_sum
    wrong = {**found, "faint": 1.05 * found["faint"]}
    with pytest.raises(ValueError, match="sum of gradients of parameter 'faint'"):
        _self_check.check_sums(risk, lambda _: wrong)
