"""Twin: modules that count, draw, write in place and keep, beside plain PyTorch."""

import copy
import random
import weakref
from collections import defaultdict, deque

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gengap.gradients import CoherenceMeter
from tests.gradients.surroundings import between, examples

pytestmark = pytest.mark.global_rng


def gradients(net, x):
    net.zero_grad()
    net(x).square().mean().backward()
    return [p.grad for p in net.parameters() if p.requires_grad]


class Gate(nn.Module):
    """Is differentiated in one piece; what it does is a test's."""

    def __init__(self, function):
        super().__init__()
        self.gain, self.function = nn.Parameter(torch.full((5,), 0.7)), function
        self.register_buffer("calls", torch.zeros(()))
        self.generator = np.random.default_rng(0)

    def forward(self, x):
        return self.function(self, x)


class Log(nn.Module):
    """Keeps all kinds of things, and uses what it has averaged."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 5)
        self.register_buffer("mean", torch.zeros(5))
        self.register_buffer("step", torch.zeros((), dtype=torch.long))
        self.total = torch.zeros(5, dtype=torch.float64)
        self.last, self.sizes, self.nested = deque(maxlen=3), defaultdict(list), {"a": ([], {1})}
        self.torchs = torch.Generator().manual_seed(3)
        self.numpys, self.old = np.random.default_rng(1), np.random.RandomState(2)
        self.pythons = random.Random(4)

    def forward(self, x):
        h = self.layer(x)
        self.step += 1
        self.mean.mul_(0.9).add_(h.detach().mean(0))
        self.total += h.detach().mean(0)
        self.last.append(int(self.step))
        self.sizes["x"].append(len(x))
        self.nested["a"][0].append(len(x))
        self.nested["a"][1].add(len(x))
        return h * self.mean + self.total * self.draw() + len(self.nested["a"][1])

    def draw(self):
        own = self.numpys.random() + self.old.random() + self.pythons.random()
        return torch.rand(1, generator=self.torchs) + own + random.random() + np.random.rand()  # noqa: NPY002


def test_finding_out_where_the_examples_are_leaves_no_trace():
    x, net = examples(), between(Log())

    def trained(net):
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002
        found = [[g.clone() for g in gradients(net, x)] for _ in range(3)]
        log = net[1]
        kept = log.mean, log.step, log.total, list(log.last), dict(log.sizes), log.nested["a"][0]
        return found, kept, sorted(log.nested["a"][1]), log.draw()

    expected = trained(copy.deepcopy(net))
    with CoherenceMeter(net):
        torch.testing.assert_close(trained(net), expected, rtol=0, atol=0)


DRAWS = {
    "torch": lambda gate, h: F.dropout(h, 0.5),
    "numpy": lambda gate, h: h * torch.from_numpy(gate.generator.random(h.shape)),
    "python": lambda gate, h: h * random.random(),
}


@pytest.mark.parametrize("vectorized", [False, True])
@pytest.mark.parametrize("name", DRAWS)
def test_a_module_that_draws_is_refused_whether_it_is_vectorized_or_not(name, vectorized):
    def draws(gate, x):
        if not vectorized:
            x.sum().item()
        return DRAWS[name](gate, x * gate.gain)

    net = between(Gate(draws))
    with CoherenceMeter(net), pytest.raises(ValueError, match=r"'1', where (it draws|calling it)"):
        net(examples()).square().mean().backward()


def test_a_penalty_on_a_module_that_draws_is_refused():
    net, x = between(Gate(lambda gate, x: F.dropout(x * gate.gain))), examples().requires_grad_()
    with (
        CoherenceMeter(net),
        pytest.raises(ValueError, match=r"gradient penalty .* '1', where it draws"),
    ):
        torch.autograd.grad(net(x).sum(), x, create_graph=True)


class Pair(nn.Module):
    """Uses two tensors of a module, and may write to the first."""

    def __init__(self, gate, writes):
        super().__init__()
        self.gate, self.writes = gate, writes

    def forward(self, x):
        one, other = self.gate(x)
        if self.writes:
            one += 1
        return one * other


def test_two_outputs_in_the_same_memory():
    def twice(gate, x):
        h = x * gate.gain
        return h, h[:]

    x, net = examples(), between(Pair(Gate(twice), writes=False))
    expected = gradients(copy.deepcopy(net), x)
    with CoherenceMeter(net) as meter:
        torch.testing.assert_close(gradients(net, x), expected)
        assert meter.read().examples == 6
        net[1].writes = True
        with pytest.raises(ValueError, match=r"returns twice.* what '1.gate' returned"):
            gradients(net, x)


def test_a_buffer_that_a_module_writes_to():
    def counts(gate, x):
        gate.calls += 1
        return x * gate.gain + gate.calls

    x, net = examples(), between(Gate(counts))
    twin = copy.deepcopy(net)
    with CoherenceMeter(net) as meter:
        for _ in range(2):
            torch.testing.assert_close(gradients(net, x), gradients(twin, x))
        assert meter.read().examples == 12
    assert net[1].calls == twin[1].calls == 2


class Frozen(nn.Module):
    """Writes to the input of a layer of which the bias alone is trained."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 5)
        self.layer.weight.requires_grad_(False)

    def forward(self, x):
        h = self.layer(x)
        x += 1
        return h * x


def test_the_input_of_a_frozen_weight_is_written_to():
    x, net = examples(), between(Frozen())
    expected = gradients(copy.deepcopy(net), x)
    with CoherenceMeter(net) as meter:
        torch.testing.assert_close(gradients(net, x), expected)
        assert meter.read().examples == 6


def test_a_loss_that_is_kept_keeps_no_activations():
    seen = []

    def notes(gate, x):
        seen.append(weakref.ref(x))
        return x * gate.gain

    net = between(nn.Sequential(nn.Tanh(), Gate(notes)))
    with CoherenceMeter(net):
        loss = net(examples()).square().mean()
        kept = seen[-1]
        assert kept() is not None
        loss.backward()
        assert kept() is None
    assert loss.grad_fn is not None


def test_a_module_that_begins_to_leave_its_output_to_autograd():
    """The first reading finds all in order; the second must not pass over what is new."""
    beside = []

    def adds(gate, x):
        return x * gate.gain + (beside[-1] if beside else 0)

    x, net = examples(), between(Gate(adds))
    with CoherenceMeter(net) as meter:
        gradients(net, x)
        meter.read()
        beside.append((net[0].weight.sum()).square())
        gradients(net, x)
        with pytest.raises(ValueError, match=r"must use its parameter"):
            meter.read()


class Complex(nn.Module):
    """Takes, gives or has complex numbers."""

    def __init__(self, way):
        super().__init__()
        self.way, self.gain = way, nn.Parameter(torch.full((5,), 0.7))
        if way == "parameter":
            self.turn = nn.Parameter(torch.full((5,), 0.6 + 0.8j))

    def forward(self, x):
        if self.way == "input":
            return (x * self.gain).real
        if self.way == "output":
            return torch.complex(x * self.gain, x)
        return (x * self.turn + 1).abs() * self.gain


class Turned(nn.Module):
    """Surrounds such a module."""

    def __init__(self, way):
        super().__init__()
        self.complex = Complex(way)

    def forward(self, x):
        h = self.complex(torch.complex(x, x * x) if self.complex.way == "input" else x)
        return (h + 1j).abs() if h.is_complex() else h


@pytest.mark.filterwarnings("ignore:Casting complex values to real")
@pytest.mark.parametrize("way", ["input", "output", "parameter"])
def test_complex_numbers(way):
    torch.manual_seed(0)
    x, net = examples(), nn.Sequential(nn.Linear(5, 5), Turned(way), nn.Linear(5, 3))
    for p in net.parameters():
        p.data = p.data.to(torch.promote_types(p.dtype, torch.float64))
    expected = gradients(copy.deepcopy(net), x)
    with CoherenceMeter(net) as meter:
        torch.testing.assert_close(gradients(net, x), expected)
        with pytest.raises(ValueError, match=r"must use its parameter '1.complex"):
            meter.read()
