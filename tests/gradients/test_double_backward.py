"""Twin: gradient penalties, and networks that differentiate within, beside plain PyTorch."""

import copy

import pytest
import torch
from torch import nn

from gengap import Risk
from gengap.data import as_split
from gengap.gradients import CoherenceMeter, per_example_squared_norms
from gengap.optim import WinsorizedSGD
from tests.gradients.surroundings import Gate, Scaled


class Steps(nn.Module):
    """A recurrent layer over the entries."""

    def __init__(self):
        super().__init__()
        self.steps = nn.GRU(1, 6, batch_first=True)

    def forward(self, x):
        return self.steps(x[:, :, None])[0][:, -1]


def _convolutional():
    layers = nn.Conv1d(1, 4, 3), nn.GroupNorm(2, 4), nn.Tanh(), nn.Flatten(), nn.Linear(16, 6)
    return nn.Sequential(nn.Unflatten(1, (1, 6)), *layers)


INNER = {
    "linear": nn.Tanh,
    "piecewise linear": nn.ReLU,
    "one piece": Gate,
    "elementwise": Scaled,
    "layer norm": lambda: nn.LayerNorm(6),
    "rms norm": lambda: nn.RMSNorm(6),
    "convolution": _convolutional,
    "recurrent": Steps,
}


def net_of(name, last=True):
    torch.manual_seed(3)
    layers = [nn.Linear(6, 6), INNER[name]()] + [nn.Linear(6, 3)] * last
    return nn.Sequential(*layers).double()


def examples():
    return torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def penalized(net, x):
    x = x.clone().requires_grad_()
    outputs = net(x)
    slopes = torch.autograd.grad(outputs.sum(), x, create_graph=True)[0]
    return outputs.square().mean() + (slopes.norm(dim=1) - 1).square().mean()


def gradients(net, x):
    net.zero_grad()
    penalized(net, x).backward()
    return {name: p.grad for name, p in net.named_parameters() if p.requires_grad}


@pytest.mark.global_rng("torch")
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("name", INNER)
def test_a_gradient_penalty_under_a_meter_and_robust_sgd(name, last):
    net, x = net_of(name, last), examples()
    expected = gradients(copy.deepcopy(net), x)
    with CoherenceMeter(net) as meter:
        net(x).square().mean().backward()
        meter.read()  # what the first reading has found right may be wrong in a later one
        torch.testing.assert_close(gradients(net, x), expected)
        with pytest.raises(ValueError, match=r"another way, as .* or from a gradient penalty"):
            meter.read()
    net.zero_grad()
    optimizer = WinsorizedSGD(net.parameters(), percent=20, model=net)
    with optimizer.robust():
        penalized(net, x).backward()
    with pytest.raises(RuntimeError, match="Every gradient must be taken example by example"):
        optimizer.step()


@pytest.mark.global_rng("torch")
@pytest.mark.parametrize("name", ["linear", "piecewise linear"])
def test_a_bias_has_the_gradient_of_a_penalty_example_by_example(name):
    """A penalty reaches a bias behind its layer only, where the layer sees it."""
    net, x = net_of(name, last=False), examples()
    net[0].weight.requires_grad_(False)
    alone = torch.stack([gradients(net, row[None])["0.bias"] for row in x])
    expected = alone.mean(0).square().sum() / alone.square().sum(1).mean() * len(x)
    with CoherenceMeter(net) as meter:
        torch.testing.assert_close(gradients(net, x)["0.bias"], alone.mean(0))
        assert meter.read().m_coherence == pytest.approx(float(expected), rel=1e-9)
    net.zero_grad()
    optimizer = WinsorizedSGD([net[0].bias], lr=1.0, percent=20, model=net)
    before = net[0].bias.detach().clone()
    with optimizer.robust():
        penalized(net, x).backward()
    optimizer.step()
    ranked = alone.sort(0).values
    clipped = torch.cat([ranked[1:2], ranked[1:-1], ranked[-2:-1]]).mean(0)
    torch.testing.assert_close(before - net[0].bias.detach(), clipped)


class Slope(nn.Module):
    """Adds the slope of an energy."""

    def __init__(self, energy):
        super().__init__()
        self.energy = energy

    def forward(self, h):
        with torch.enable_grad():
            x = h.detach().clone().requires_grad_()
            energy = self.energy(x).sum()
            return h + torch.autograd.grad(energy, x, create_graph=True)[0]


@pytest.mark.global_rng("torch")
@pytest.mark.parametrize("name", INNER)
def test_the_gradients_of_a_network_that_differentiates_within(name):
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(6, 6), INNER[name]())
    net, x = nn.Sequential(nn.Linear(6, 6), Slope(inner), nn.Linear(6, 3)).double(), examples()
    y, norms = torch.arange(5) % 3, []
    for i in range(5):
        loss = nn.functional.cross_entropy(net(x[i : i + 1]), y[i : i + 1])
        grads = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True)
        norms.append(sum(g.square().sum() for g in grads if g is not None))
    risk = Risk(net, as_split((x, y)), dtype=torch.float64)
    torch.testing.assert_close(per_example_squared_norms(risk), torch.stack(norms))
