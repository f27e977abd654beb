"""Twin: what leaves a module another way than as its output, beside plain PyTorch.

A module with parameters and code of its own is differentiated in one piece. Attributes, hooks,
dicts and objects that it fills must stay in autograd's graph, and whole when the batch is over.
"""

import copy

import pytest
import torch
from torch import nn
from torch.distributions import Normal

from gengap import Risk
from gengap.data import Split
from gengap.gradients import CoherenceMeter, gradient_statistics


class Gate(nn.Module):
    """Its own function, and whatever a test adds to it."""

    def __init__(self, then):
        super().__init__()
        self.gain, self.then = nn.Parameter(torch.full((6,), 0.7)), then
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x):
        return self.then(self, x)


class Net(nn.Module):
    def __init__(self, then, end):
        super().__init__()
        self.first, self.gate, self.last = nn.Linear(6, 6), Gate(then), nn.Linear(6, 3)
        self.end = end

    def forward(self, x):
        return self.end(self, self.first(x))


def plain(net, h):
    return net.last(net.gate(h))


def stores(gate, x):
    gate.aux = (x * gate.gain).square()
    return torch.tanh(x * gate.gain)


def hooked(gate, x):
    return gate.act(x * gate.gain)


def in_place(gate, x):
    x *= gate.gain
    return x


def fills(gate, x):
    gate.cache["k"] = x * gate.gain
    return x


class Seen:
    """What a hook saw."""

    def __call__(self, module, inputs, output):
        self.output = output


def aux(net, h):
    return net.last(net.gate(h)) + net.gate.aux[:, :3]


def distribution(net, h):
    found = net.gate(h)
    return net.last(found.mean) + found.stddev.log()[:, :3] * h[:, :3]


def dropped(net, h):
    net.gate(h)
    return net.last(torch.tanh(h))


def cached(net, h):
    net.gate.cache = {}
    return net.last(net.gate(h)) + net.gate.cache["k"][:, :3]


def caught(net, h):
    seen = Seen()
    if not hasattr(net.gate, "act"):
        net.gate.act = nn.Tanh()
    handle = net.gate.act.register_forward_hook(seen)
    found = net.last(net.gate(h))
    handle.remove()
    return found + seen.output[:, :3]


WAYS = {
    "attribute": (stores, aux),
    "distribution": (lambda gate, x: Normal(x, gate.gain.exp()), distribution),
    "in place": (in_place, dropped),
    "in place, returned": (in_place, plain),
    "dict": (fills, cached),
    "hook on a child": (hooked, caught),
}


def net_of(way):
    torch.manual_seed(0)
    return Net(*WAYS[way]).double()


def examples(n=5):
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def gradients(net, x):
    net.zero_grad()
    net(x).square().sum().backward()
    return [p.grad.clone() for p in net.parameters()]


@pytest.mark.global_rng("torch")
@pytest.mark.parametrize("way", WAYS)
def test_a_meter_leaves_the_gradients_as_they_are_and_says_what_it_cannot_see(way):
    x, net = examples(), net_of(way)
    expected = gradients(net, x)
    with CoherenceMeter(net) as meter:
        found = gradients(net, x)
        with pytest.raises(ValueError, match=r"must use its parameter 'gate.gain' in the layer"):
            meter.read()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.global_rng("torch")
@pytest.mark.parametrize("way", WAYS)
def test_the_statistics_of_a_risk_are_exact(way):
    x, net = examples(), net_of(way)
    net(x)  # children are made
    alone = [torch.cat([g.flatten() for g in gradients(net, row[None])]) for row in x]
    targets = torch.zeros(5, 3, dtype=torch.float64)
    risk = Risk(net, Split(inputs=x, targets=targets), loss="squared_error", dtype=torch.float64)
    found = gradient_statistics(risk, check=True)
    norms = torch.stack(alone).square().sum(1)
    scale = float(found.squared_norms.sum() / norms.sum())
    torch.testing.assert_close(found.squared_norms, scale * norms, rtol=1e-9, atol=0)
    assert scale == pytest.approx(round(scale * 36) / 36, rel=1e-9)  # a loss's own factor


@pytest.mark.global_rng("torch")
def test_attributes_are_whole_after_the_backward_pass():
    def keeps(gate, x):
        gate.shown = (x * gate.gain).detach()
        gate.log.append(float(gate.shown.sum()))
        return torch.tanh(x * gate.gain)

    torch.manual_seed(0)
    net, x = Net(keeps, plain).double(), examples()
    net.gate.log = []
    with CoherenceMeter(net) as meter:
        gradients(net, x)
        assert meter.read().examples == 5
    torch.testing.assert_close(net.gate.shown, net.first(x).detach() * 0.7)
    assert net.gate.log == [pytest.approx(float(net.gate.shown.sum()))]


@pytest.mark.global_rng("torch")
def test_a_module_that_returns_a_buffer():
    def returns(gate, x):
        return torch.tanh(x * gate.gain) * gate.scale, gate.scale

    torch.manual_seed(0)
    net, x = Net(returns, lambda net, h: net.last(net.gate(h)[0])).double(), examples()
    expected = gradients(net, x)
    with CoherenceMeter(net) as meter:
        found = gradients(net, x)
        assert meter.read().examples == 5
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert not net.gate.scale.requires_grad
    copy.deepcopy(net)


SEQUENCES = {
    "relu": lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)),
    "own": lambda: nn.Sequential(Adds(), nn.Linear(6, 3)),
}


class Adds(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(6, 6)

    def forward(self, x):
        h = self.line(x)
        h += x
        h *= 0.5
        return h.masked_fill_(h > 1, 0.0)


@pytest.mark.global_rng("torch")
@pytest.mark.parametrize("shape", [(5, 6), (5, 4, 6), (5, 2, 4, 6)])
@pytest.mark.parametrize("kind", SEQUENCES)
def test_the_output_of_a_linear_layer_is_written_to(kind, shape):
    torch.manual_seed(0)
    net, x = SEQUENCES[kind]().double(), torch.randn(shape, dtype=torch.float64)
    expected = gradients(net, x)
    alone = [torch.cat([g.flatten() for g in gradients(net, row[None])]) for row in x]
    with CoherenceMeter(net) as meter:
        found = gradients(net, x)
        read = meter.read()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    rows = torch.stack(alone)
    ratio = rows.sum(0).square().sum() / rows.square().sum()
    assert read.m_coherence == pytest.approx(float(ratio), rel=1e-9)
