"""Twin: what changes after a meter was put on, and state that a trial could leave changed."""

import copy
import io
import random
from collections import OrderedDict, deque
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from gengap import Risk
from gengap.data import as_split
from gengap.gradients import CoherenceMeter, _attributes, per_example_squared_norms
from tests.gradients.surroundings import between, examples

pytestmark = pytest.mark.global_rng


def gradients(net, x):
    net.zero_grad()
    loss = net(x).square().mean()
    loss.backward()
    return loss.detach(), [None if p.grad is None else p.grad.clone() for p in net.parameters()]


def one_by_one(net, x, y):
    norms = []
    for i in range(len(x)):
        loss = F.cross_entropy(net(x[i : i + 1]), y[i : i + 1])
        grads = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True)
        norms.append(sum(g.square().sum() for g in grads if g is not None))
    return torch.stack(norms)


class Gate(nn.Module):
    """Is differentiated in one piece; what it does is a test's."""

    def __init__(self, function, **kept):
        super().__init__()
        self.gain, self.function = nn.Parameter(torch.full((5,), 0.7)), function
        self.register_buffer("calls", torch.ones(()))
        for name, value in kept.items():
            setattr(self, name, value)

    def forward(self, x):
        return self.function(self, x)


def _mean(norm):
    norm.running_mean = norm.running_mean + 1


def _epsilon(norm):
    norm.eps = 0.5


@pytest.mark.parametrize("change", [_mean, _epsilon])
def test_settings_of_a_layer_change_under_a_meter(change):
    net, x = between(nn.BatchNorm1d(5)), examples()
    net(x)
    net.eval()
    with CoherenceMeter(net) as meter:
        before = gradients(net, x)
        change(net[1])
        twin = copy.deepcopy(net)
        expected = gradients(twin, x)
        found = gradients(net, x)
        torch.testing.assert_close(found, expected)
        assert not torch.allclose(found[0], before[0])
        assert meter.read().examples == 12


def test_statistics_are_given_by_a_functional_call():
    net, x = between(nn.BatchNorm1d(5)), examples()
    net(x)
    net.eval()
    given = {"1.running_var": net[1].running_var * 4}
    expected = torch.func.functional_call(net, given, (x,))
    with CoherenceMeter(net):
        torch.testing.assert_close(torch.func.functional_call(net, given, (x,)), expected)


class Kept(nn.Module):
    """Counts its calls somewhere, and uses the count."""

    def __init__(self, place, count):
        super().__init__()
        self.layer, self.place, self.count = nn.Linear(5, 5), place, count

    def forward(self, x):
        return self.layer(x) * self.count(self.place)


def _by_data(place):
    place.data.add_(1)
    return place


def _in_array(place):
    place += 1
    return float(place[0])


class Rows(list):
    """A list of the user's own."""


def _in_rows(place):
    place.append(1)
    return len(place)


def _in_module(place):
    place[0].running_mean.add_(1)
    return float(place[0].running_mean[0])


def _resized(place):
    return place.resize_(len(place) + 1).fill_(0.5).sum()


class Counter(nn.Module):
    """Counts its calls in training mode and in another, in a buffer that is put in place anew."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.ones(()))

    def forward(self, x):
        self.calls = self.calls + 1
        return x * self.calls


def _in_hidden_child(place):
    return place[0](torch.ones((), dtype=torch.float64))


PLACES = {
    "buffer put in place": (lambda: Counter(), lambda place: place(torch.ones(()).double())),
    "hidden child": (lambda: [nn.Sequential(nn.Identity(), Counter())], _in_hidden_child),
    "resized tensor": (lambda: torch.ones(1, dtype=torch.float64), _resized),
    "data of a tensor": (lambda: torch.ones((), dtype=torch.float64), _by_data),
    "frozen": (lambda: nn.Parameter(torch.ones(()), requires_grad=False), _by_data),
    "array": (lambda: np.ones(2), _in_array),
    "list": (lambda: Rows([1]), _in_rows),
    "hidden module": (lambda: [nn.BatchNorm1d(2)], _in_module),
}


@pytest.mark.parametrize("name", PLACES)
def test_what_a_trial_changes_is_undone(name):
    make, count = PLACES[name]
    net, x = between(Kept(make(), count)), examples()
    twin = copy.deepcopy(net)
    expected = [gradients(twin, x) for _ in range(2)]
    with CoherenceMeter(net):
        torch.testing.assert_close([gradients(net, x) for _ in range(2)], expected)


@dataclass
class Hidden:
    """A place that nobody looks into."""

    seen: list = field(default_factory=lambda: [1])


@pytest.mark.parametrize("write", [lambda place: place.add_(1)[0], lambda p: _by_data(p)[0]])
def test_large_frozen_parameters_that_are_written_to_are_refused(monkeypatch, write):
    monkeypatch.setattr(_attributes, "_FROZEN", 10_000)
    net = between(Kept(nn.Parameter(torch.ones(10_001), requires_grad=False), write))
    with CoherenceMeter(net), pytest.raises(ValueError, match="write to its frozen parameters"):
        net(examples())


def test_a_trial_that_cannot_be_undone_is_refused():
    def count(place):
        place.seen.append(1)
        return len(place.seen)

    net, again = (
        between(Kept(Hidden(), count)),
        "must give the same outputs where it is called again",
    )
    with CoherenceMeter(net), pytest.raises(ValueError, match=again):
        net(examples())


class Sealed(OrderedDict):
    """Refuses what a dict can."""

    def update(self, *given):
        raise TypeError("sealed")

    clear = pop = __setitem__ = update


def test_what_nobody_has_changed_is_left_alone(tmp_path):
    """Objects that refuse changes, memory that cannot be written to, NaN."""
    np.full(5, np.nan).tofile(tmp_path / "numbers")
    net, x = between(nn.Tanh()), examples()
    net.sealed = Sealed()
    OrderedDict.__setitem__(net.sealed, "a", 1)
    net.numbers = np.memmap(tmp_path / "numbers", mode="r", dtype=float)
    net.spread, net.queue = torch.full((1,), np.nan).expand(5), iter(deque([1, 2]))
    expected = gradients(net, x)
    with CoherenceMeter(net):
        torch.testing.assert_close(gradients(net, x), expected)
    assert net.sealed["a"] == next(net.queue) == 1


class More(nn.Module):
    """Gives more than numbers."""

    def __init__(self, more):
        super().__init__()
        self.layer, self.more, self.calls = nn.Linear(5, 3).double(), more, [0]

    def forward(self, x):
        return {"y": self.layer(x), "more": self.more(self)}


def _counted(net):
    net.calls = [*net.calls, 0]
    return torch.tensor(len(net.calls))


@pytest.mark.parametrize(
    "more",
    [
        lambda net: torch.eye(3).to_sparse(),
        lambda net: torch.ones(3, device="meta"),
        lambda net: torch.ones(3).to(torch.float8_e4m3fn),
        _counted,
    ],
)
def test_outputs_beside_the_numbers(more):
    net, x = More(more), examples()
    with CoherenceMeter(net) as meter:
        net(x)["y"].square().mean().backward()
        assert meter.read().examples == 6


@pytest.mark.parametrize(
    "function",
    [
        lambda gate, x: torch.cat([x[:3] * gate.gain, x[3:] * gate.gain * 2]),
        lambda gate, x: (x * gate.gain).cumsum(0),
        lambda gate, x: x * gate.gain * torch.tensor([1.0] * 5 + [2.0])[:, None],
    ],
)
def test_a_module_whose_function_hangs_on_the_place_in_the_batch_is_refused(function):
    net = between(Gate(lambda gate, x: function(gate, x) if len(x) == 6 else x * gate.gain))
    with CoherenceMeter(net), pytest.raises(ValueError, match="calling it again, example by"):
        gradients(net, examples())


def test_an_output_that_is_not_used_gives_no_gradient():
    pair = Gate(lambda gate, x: (x * gate.gain, x * gate.other))
    pair.other = nn.Parameter(torch.ones(5))

    class First(nn.Module):
        def __init__(self):
            super().__init__()
            self.pair = pair

        def forward(self, x):
            return self.pair(x)[0]

    net, x = between(First()), examples()
    with CoherenceMeter(net) as meter:
        gradients(net, x)
        assert pair.other.grad is None
        assert meter.read().examples == 6


def test_a_layer_that_is_called_by_keyword():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.rms, self.layer = nn.RMSNorm(5), nn.LayerNorm(5)

        def forward(self, h):
            return self.rms(x=h) + self.layer(input=h)

    net, x = between(Named()), examples()
    expected = gradients(copy.deepcopy(net), x)
    with CoherenceMeter(net):
        torch.testing.assert_close(gradients(net, x), expected)


def test_a_batch_within_a_level_of_forward_mode():
    net, x = between(nn.Tanh()), examples()
    with CoherenceMeter(net) as meter, torch.autograd.forward_ad.dual_level():
        gradients(net, x)
        assert meter.read().examples == 6


def test_a_generator_without_a_state():
    net, x = between(Gate(lambda gate, x: x * gate.gain, system=random.SystemRandom())), examples()
    expected = gradients(net, x)
    with CoherenceMeter(net):
        torch.testing.assert_close(gradients(net, x), expected)


def test_draws_that_change_nothing_are_not_made_twice():
    def may_drop(gate, x):
        return x * gate.gain if random.random() < 2 else x

    net = between(Gate(may_drop))
    with CoherenceMeter(net):
        loss = net(examples()).square().mean()
        state = random.getstate()
        with pytest.raises(ValueError, match="draws random numbers"):
            loss.backward()
        assert random.getstate() == state


@pytest.mark.parametrize("module", ["counts", "spectral norm"])
def test_a_penalty_on_a_module_that_writes_buffers(module):
    def counts(gate, x):
        gate.calls += 1
        return (x * gate.gain * gate.calls).tanh()

    if module == "counts":
        net = between(Gate(counts))
    else:
        net = between(nn.utils.parametrizations.spectral_norm(nn.Linear(5, 5)))

    def penalized(net):
        x = examples().requires_grad_()
        outputs = net(x)
        slopes = torch.autograd.grad(outputs.sum(), x, create_graph=True)[0]
        (outputs.square().mean() + slopes.square().mean()).backward()
        return [p.grad for p in net.parameters()], list(net.buffers())

    expected = penalized(copy.deepcopy(net))
    with CoherenceMeter(net):
        torch.testing.assert_close(penalized(net), expected)


def test_a_penalty_outside_of_autocast():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 5), nn.LayerNorm(5), nn.Linear(5, 3))

    def slopes(net):
        x = examples().float().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            outputs = net(x)
        return torch.autograd.grad(outputs.float().sum(), x, create_graph=True)[0]

    expected = slopes(net)
    with CoherenceMeter(net):
        torch.testing.assert_close(slopes(net), expected, rtol=1e-2, atol=1e-2)


class Another(nn.Module):
    """Uses a parameter of its own one way first, and another way later."""

    def __init__(self, later):
        super().__init__()
        self.gain, self.layer = nn.Parameter(torch.full((5,), 0.7)), nn.Linear(5, 5)
        self.later, self.now = later, False

    def forward(self, x):
        h = self.layer(x)
        return self.later(self, h) if self.now else h * self.gain


LATER = {
    "another's weight": lambda net, h: F.linear(h * net.gain, net.layer.weight),
    "function": lambda net, h: torch.addcmul(h, h, net.gain),
    "computed": lambda net, h: h * net.gain.exp(),
    "beside": lambda net, h: h * net.gain + net.layer.weight.square().sum(),
}


@pytest.mark.parametrize("name", LATER)
def test_a_parameter_is_used_another_way_after_the_first_reading(name):
    net, x = between(Another(LATER[name])), examples()
    with CoherenceMeter(net) as meter:
        gradients(net, x)
        meter.read()
        net[1].now = True
        gradients(net, x)
        with pytest.raises(ValueError, match=r"must use its parameter '1\.(gain|layer.weight)'"):
            meter.read()
        net[1].now = False
        gradients(net, x)
        assert meter.read().examples == 6  # one reading that is refused is one


def test_a_parameter_that_is_not_used_gets_no_gradient():
    net, x = between(Gate(lambda gate, x: x * gate.gain)), examples()
    net[1].idle = nn.Parameter(torch.ones(2, dtype=torch.float64))
    with CoherenceMeter(net) as meter:
        gradients(net, x)
        assert net[1].idle.grad is None
        assert meter.read().examples == 6


def test_checkpoints_around_a_model_and_a_part():
    net, x = between(nn.Tanh()), examples().requires_grad_()
    expected = gradients(net, x)
    with CoherenceMeter(net) as meter:
        net.zero_grad()
        checkpoint(net, x, use_reentrant=False).square().mean().backward()
        found = [p.grad for p in net.parameters()]
        assert meter.read().examples == 6
    torch.testing.assert_close(found, expected[1])


def test_copies_of_a_metered_network():
    net, x = between(nn.Tanh()), examples()
    with CoherenceMeter(net) as meter:
        expected = gradients(net, x)
        reading = meter.read().m_coherence
        twin, shallow = copy.deepcopy(net), copy.copy(net[0])
        with pytest.raises(ValueError, match="shallow copy of a metered Linear would compute"):
            shallow(x)
    with CoherenceMeter(twin) as meter:
        torch.testing.assert_close(gradients(twin, x), expected)
        assert meter.read().m_coherence == pytest.approx(reading, rel=1e-12)
    stored = io.BytesIO()
    torch.save(twin, stored)
    stored.seek(0)
    torch.testing.assert_close(torch.load(stored, weights_only=False)(x), net(x))


class Equilibrium(nn.Module):
    """A fixed point, whose derivative is that of the implicit function."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(5, 5)
        with torch.no_grad():
            self.inner.weight.mul_(0.3)

    def forward(self, h):
        with torch.no_grad():
            z = torch.zeros_like(h)
            for _ in range(60):
                z = self.inner(z).tanh() + h
        z = self.inner(z).tanh() + h
        if z.requires_grad:
            before = z.detach().requires_grad_()
            after = self.inner(before).tanh() + h.detach()

            def implicit(gradient):
                found = gradient
                for _ in range(60):
                    pulled = torch.autograd.grad(after, before, found, retain_graph=True)[0]
                    found = pulled + gradient
                return found

            z.register_hook(implicit)
        return z


class Descent(nn.Module):
    """A step down an energy that is used once more."""

    def __init__(self):
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1))

    def forward(self, h):
        with torch.enable_grad():
            z = h.detach().requires_grad_()
            slope = torch.autograd.grad(self.energy(z).sum(), z)[0]
        return h - slope + self.energy(h)


@pytest.mark.parametrize("module", [Equilibrium, Descent])
def test_a_network_that_differentiates_for_itself(module):
    torch.manual_seed(0)
    net, x, y = between(module()), examples(), torch.arange(6) % 3
    risk = Risk(net, as_split((x, y)), dtype=torch.float64)
    torch.testing.assert_close(per_example_squared_norms(risk), one_by_one(net, x, y))


class Fourier(nn.Module):
    """Multiplies frequencies."""

    def __init__(self):
        super().__init__()
        self.turn = nn.Parameter(torch.full((3,), 0.6 + 0.8j, dtype=torch.complex128))

    def forward(self, h):
        return torch.fft.irfft(torch.fft.rfft(h) * self.turn, n=5)


def test_complex_parameters_are_refused_by_a_risk():
    net = between(Fourier())
    net[1].turn.data = torch.full((3,), 0.6 + 0.8j, dtype=torch.complex128)
    with pytest.raises(ValueError, match=r"real parameters to train; got '1.turn'"):
        Risk(net, as_split((examples(), torch.arange(6) % 3)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_complex_buffers_stay_complex(dtype):
    """As those by which positions are turned."""
    net, x, y = between(Fourier()), examples(), torch.arange(6) % 3
    del net[1].turn
    net[1].register_buffer("turn", torch.full((3,), 0.6 + 0.8j, dtype=torch.complex128))
    risk = Risk(net, as_split((x, y)), dtype=dtype)
    expected = one_by_one(net, x, y).to(torch.float64)
    torch.testing.assert_close(
        per_example_squared_norms(risk).double(), expected, rtol=1e-5, atol=0
    )
