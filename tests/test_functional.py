"""Property: a call with other tensors, and the network after it; oracle: tensors set by hand."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from gengap import Risk, measures
from gengap._functional import functional_call
from gengap.curvature import hessian
from gengap.data import as_split
from gengap.training import Lane, Recipe, fit, fit_lanes

X = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(9) % 3


class Aliased(nn.Module):
    """One layer under two names, and one weight in two layers."""

    def __init__(self):
        super().__init__()
        self.fc, self.inner, self.out = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)
        self.head = self.fc
        self.out.weight = self.inner.weight
        self.register_buffer("shift", torch.ones(3))
        self.blocks = nn.ModuleList([nn.BatchNorm1d(3)] * 2)

    def forward(self, x):
        x = self.blocks[1](self.blocks[0](self.fc(x) + self.shift))
        return self.head(self.out(torch.tanh(self.inner(x))))


class Double(nn.Module):
    def forward(self, weight):
        return 2 * weight


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Aliased().eval()


@pytest.mark.global_rng("torch")
def test_every_place_gets_the_value_and_its_own_back(network):
    before = {name: (t, t.clone()) for name, t in network.state_dict(keep_vars=True).items()}
    values = {n: torch.randn_like(t) for n, t in network.named_parameters()}
    values["shift"] = torch.randn(3)
    twin = copy.deepcopy(network)
    with torch.no_grad():
        for name, tensor in (*twin.named_parameters(), *twin.named_buffers()):
            if name in values:
                tensor.copy_(values[name])
    torch.testing.assert_close(functional_call(network, values, (X,)), twin(X))
    for name, tensor in network.state_dict(keep_vars=True).items():
        assert tensor is before[name][0]
        assert torch.equal(tensor, before[name][1])


@pytest.mark.global_rng("torch")
def test_a_parametrized_weight_is_computed_from_the_value():
    layer = nn.Linear(3, 3, bias=False)
    parametrize.register_parametrization(layer, "weight", Double())
    name = "parametrizations.weight.original"
    found = functional_call(layer, {name: torch.eye(3)}, (X,))
    torch.testing.assert_close(found, 2 * X)


def apart(network):
    """Return the same function with a copy of the layer under the second name."""
    twin = copy.deepcopy(network)
    twin.head = copy.deepcopy(twin.fc)
    return twin


@pytest.mark.global_rng("torch")
def test_a_risk_stays_what_it_was_and_measures_agree(network):
    """Oracle: gradients by autograd; values of the same function with the layer named once."""
    risk = Risk(network, as_split(X, Y), dtype=torch.float64)
    first, names = risk(), list(risk.params)
    assert risk({name: 2 * value for name, value in risk.params.items()}) != first
    assert risk() == first
    assert list(risk.params) == names
    found = risk.gradient()["fc.weight"]
    plain = copy.deepcopy(network).double()
    nn.functional.cross_entropy(plain(X.double()), Y).backward()
    torch.testing.assert_close(found, plain.fc.weight.grad)
    two = Risk(apart(network), as_split(X, Y), dtype=torch.float64).gradient()
    torch.testing.assert_close(found, two["fc.weight"] + two["head.weight"])


@pytest.mark.global_rng("torch")
def test_measures_of_a_layer_named_twice():
    """Oracle: the dense Hessian, the slopes of single outputs along the parameters."""
    layer = nn.Linear(3, 3)
    network = nn.Sequential(layer, nn.Tanh(), layer)
    split = as_split(X, Y)
    found = measures.evaluate(
        network, split, names=["loss", "pac_bayes_sigma", "loss", "fisher_rao_norm", "trace"]
    ).set_index("name")["value"]
    plain = float(nn.functional.cross_entropy(network(X), Y).detach())
    assert found["loss"].tolist() == pytest.approx([plain, plain])
    risk = Risk(network, split, dtype=torch.float64)
    dense = hessian(risk).dense()
    assert found["trace"] == pytest.approx(float(dense.trace()), rel=0.2)
    theta = torch.cat([p.reshape(-1) for p in risk.params.values()])
    outputs = risk.model(X.double())
    grads = [
        torch.autograd.grad(o, list(risk.model.parameters()), retain_graph=True)
        for o in outputs.reshape(-1)
    ]
    slopes = torch.stack([torch.cat([g.reshape(-1) for g in row]) @ theta for row in grads])
    wrong = outputs.softmax(1) - nn.functional.one_hot(Y, 3)
    squares = (wrong * slopes.view(9, 3)).sum(1).square()
    assert found["fisher_rao_norm"] == pytest.approx(float(squares.mean().sqrt().detach()))


def twice():
    layer = nn.Linear(3, 3)
    return nn.Sequential(layer, nn.Tanh(), layer)


def test_lanes_of_a_layer_named_twice():
    """Oracle: the same runs alone."""
    recipe = Recipe(epochs=3, batch_size=3, lr=0.1)
    lanes = [Lane(split=as_split(X, Y), seed=seed) for seed in range(2)]
    for lane, run in zip(lanes, fit_lanes(twice, lanes, recipe=recipe), strict=True):
        alone = fit(twice, lane.split, recipe=recipe, seed=lane.seed)
        for name, value in alone.model.state_dict().items():
            torch.testing.assert_close(run.model.state_dict()[name], value)


class Masked(nn.Module):
    """Multiplies by a buffer that is empty until somebody gives it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mask", None)

    def forward(self, x):
        return x if self.mask is None else x * self.mask


def test_an_empty_buffer_may_be_given():
    assert torch.equal(functional_call(Masked(), {"mask": torch.full((3,), 2.0)}, (X,)), 2 * X)
