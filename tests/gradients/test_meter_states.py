"""Twin and property: a meter on layers whose calls are not functions of what they are given.

Oracle: autograd without the meter, with the same draws and states; gradients one by one.
"""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import gengap
from gengap import _linear
from gengap.gradients import CoherenceMeter
from gengap.gradients._compiler import keep_out_the_compiler
from gengap.optim import WinsorizedSGD
from tests.gradients.meter_oracle import gradients_one_by_one, m_coherence_of


@pytest.fixture
def draw():
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, generator=generator)


def seeded(build):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        return build()


class Scaled(nn.Module):
    """A parameter times a table of as many rows as there may be examples."""

    def __init__(self):
        super().__init__()
        self.gain, self.last = nn.Parameter(torch.ones(8)), nn.Linear(8, 3)
        self.register_buffer("table", torch.linspace(-1, 1, 48).view(6, 8))

    def forward(self, x):
        return self.last((x + (self.gain * self.table).sum(0)).tanh())


class Anchored(nn.Module):
    """A layer for the examples and for anchors."""

    def __init__(self):
        super().__init__()
        self.both, self.last = nn.Linear(8, 4), nn.Linear(6, 3)
        self.register_buffer("anchors", torch.linspace(-1, 1, 48).view(6, 8))

    def forward(self, x):
        return self.last(self.both(x).tanh() @ self.both(self.anchors).tanh().T)


@pytest.mark.parametrize("kind", [Scaled, Anchored])
@pytest.mark.parametrize("n", [5, 6])
def test_rows_that_are_no_examples_are_not_taken_for_them(kind, n, draw):
    """With 6 examples there are as many rows as examples."""
    model, x, y = seeded(kind), draw(n, 8), torch.arange(n) % 3
    expected = m_coherence_of(gradients_one_by_one(model, x, y))
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model(x), y).backward()
        assert meter.read().m_coherence == pytest.approx(expected, rel=1e-5)


class Noisy(nn.Module):
    """A weight, and noise that PyTorch does not know of."""

    def __init__(self):
        super().__init__()
        self.weight, self.draw = nn.Parameter(torch.ones(6)), np.random.default_rng(0)

    def forward(self, x):
        return x * self.weight + torch.from_numpy(self.draw.normal(size=x.shape)).to(x)


class Counting(nn.Module):
    """A weight, and a number that every call makes larger."""

    def __init__(self):
        super().__init__()
        self.weight, self.calls = nn.Parameter(torch.ones(6)), 0

    def forward(self, x):
        self.calls += 1
        return x * self.weight * self.calls


UNREPEATABLE = {
    "dropout between layers": lambda: nn.LSTM(6, 5, 2, dropout=0.5, batch_first=True),
    "spectral norm of old": lambda: nn.utils.spectral_norm(nn.Linear(6, 9)),
    "NumPy's noise": Noisy,
    "a count": Counting,
}


@pytest.mark.global_rng("torch")
@pytest.mark.parametrize("kind", UNREPEATABLE)
def test_a_layer_that_cannot_be_called_the_same_way_again_is_refused(kind, draw):
    model, x = seeded(UNREPEATABLE[kind]), draw(7, 4, 6)
    refused = pytest.raises(ValueError, match=r"draws random|calling it again, example by")
    with CoherenceMeter(model), refused:
        found = model(x)
        outputs = found[0] if isinstance(found, tuple) else found
        outputs.square().mean().backward()


@pytest.mark.parametrize("steps", [1, 4])
def test_spectral_norm_in_training_mode_is_that_of_the_call(steps, draw):
    own = seeded(lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(6, 16)))
    plain, x = copy.deepcopy(own), draw(12, 6)
    with CoherenceMeter(own):
        for _ in range(steps):
            for model in (own, plain):
                model.zero_grad()
                model(x).square().mean().backward()
    for ours, theirs in zip(own.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-7)
    for ours, theirs in zip(own.buffers(), plain.buffers(), strict=True):
        assert torch.equal(ours, theirs)


def test_dropout_behind_the_last_layer_alone_draws_nothing(draw):
    model, x = seeded(lambda: nn.GRU(6, 5, 2, dropout=0.0, batch_first=True)), draw(7, 4, 6)
    model(x)[0].square().mean().backward()
    expected = model.weight_hh_l0.grad.clone()
    model.zero_grad()
    with CoherenceMeter(model):
        model(x)[0].square().mean().backward()
    torch.testing.assert_close(model.weight_hh_l0.grad, expected)


def test_what_is_no_module_is_told():
    with pytest.raises(TypeError, match=r"`model` must be a torch\.nn\.Module; got a NoneType"):
        WinsorizedSGD([nn.Parameter(torch.zeros(1))], model=None)
    with pytest.raises(TypeError, match=r"`risk` must be a gengap\.Risk; got a Linear"):
        gengap.coherence(seeded(lambda: nn.Linear(1, 1)))


def test_a_metered_network_is_copied_but_not_pickled(tmp_path):
    model = seeded(lambda: nn.Sequential(nn.Linear(2, 2), nn.Tanh()))
    with CoherenceMeter(model):
        with pytest.raises(TypeError, match=r"cannot be pickled while a meter .* `state_dict\(\)`"):
            torch.save(model, tmp_path / "model.pt")
        torch.save(model.state_dict(), tmp_path / "weights.pt")
        assert copy.deepcopy(model)(torch.ones(1, 2)).shape == (1, 2)
    torch.save(model, tmp_path / "model.pt")


class Shifted(nn.Module):
    """Gives parameters of its own to functions, beside a layer."""

    def __init__(self):
        super().__init__()
        self.gain, self.shift = nn.Parameter(torch.rand(6)), nn.Parameter(torch.randn(9))
        self.layer = nn.Linear(6, 6)

    def forward(self, x):
        return self.layer(x) * self.gain + self.shift[:6]


class Gate(nn.Module):
    """Is differentiated in one piece."""

    def __init__(self):
        super().__init__()
        self.gain, self.shift = nn.Parameter(torch.rand(6)), nn.Parameter(torch.rand(6))

    def forward(self, x):
        return torch.tanh(x * self.gain) + self.shift.exp()


def test_a_method_that_somebody_puts_in_place_stays(draw):
    model = seeded(lambda: nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3)))
    x = draw(5, 4)
    plain, meter = model(x), CoherenceMeter(model)
    within = model[0].forward
    model[0].forward = lambda x: 2 * within(x)
    model(x).sum().backward()
    meter.read()
    meter.close()
    assert model[0].forward.__name__ == "<lambda>"
    torch.testing.assert_close(model[0](x), 2 * F.linear(x, model[0].weight, model[0].bias))
    model(x).sum().backward()
    with pytest.raises(ValueError, match="none since"):  # what it calls is the layer's own again
        meter.read()
    meter = CoherenceMeter(model)
    del model[0].forward
    meter.close()
    torch.testing.assert_close(model(x), plain)
    assert not any("forward" in vars(part) for part in model.modules())


class Named(nn.Module):
    """Is given names of files beside the images."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 3)

    def forward(self, x, names):
        return self.inner(x)


def test_names_in_a_list_are_no_new_way_of_computing(draw):
    model, x, calls = seeded(Named), draw(5, 4), []
    with CoherenceMeter(model) as meter:
        model.inner.register_forward_hook(lambda *_: calls.append(1))
        for step in range(40):
            model(x, [f"{step}-{i}" for i in range(5)]).sum().backward()
            meter.read()
    assert len(calls) < 40 + 60  # a few trials, and comparisons in calls 2, 4, 8, 16 and 32


def _compiled(model, way):
    """Return a compiled network and its meter, made in one of three orders."""
    if way == "meter first":
        meter = CoherenceMeter(model)
        return torch.compile(model, backend="eager"), meter
    compiled = torch.compile(model, backend="eager")
    if way == "in use":
        compiled(torch.zeros(4, 6)).sum().backward()
        model.zero_grad()
    return compiled, CoherenceMeter(compiled if way == "meter last" else model)


class Tasks(nn.Module):
    """Takes two rows an example, in an order that a word in a dict says."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 3)

    def forward(self, batch):
        left, right = batch["x"], batch["x"].flip(1)
        if batch["order"] == "blocks":
            left, right = self.inner(torch.cat([left, right])).tanh().chunk(2)
        else:
            rows = self.inner(torch.stack([left, right], 1).flatten(0, 1)).tanh()
            left, right = rows[::2], rows[1::2]
        return left + 2 * right


def test_a_word_in_a_dict_may_be_a_new_way_of_computing(draw):
    model, x = seeded(Tasks), draw(5, 4)
    with CoherenceMeter(model) as meter:
        for order in ("blocks", "blocks", "pairs"):  # the third call is not compared again
            model({"x": x, "order": order}).square().sum().backward()
            reading = meter.read()
    rows = []
    for i in range(5):
        model.zero_grad()
        model({"x": x[i : i + 1], "order": "pairs"}).square().sum().backward()
        rows.append(torch.cat([p.grad.flatten() for p in model.parameters()]).clone())
    gradients = {"all": torch.stack(rows)}
    assert reading.m_coherence == pytest.approx(m_coherence_of(gradients), rel=1e-5)


def test_what_runs_between_layers_is_not_compiled():
    keep_out_the_compiler()
    for function in (_linear.linear, CoherenceMeter.read):
        assert torch._dynamo.trace_rules.check(function)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", ["meter first", "meter last", "in use"])
def test_a_compiled_network(way, draw):
    model = seeded(lambda: nn.Sequential(nn.Linear(6, 6), Shifted(), Gate(), nn.Linear(6, 3)))
    x, y = draw(4, 6), torch.arange(4) % 3
    expected = m_coherence_of(gradients_one_by_one(model, x, y))
    compiled, meter = _compiled(model, way)
    for _ in range(2):
        F.cross_entropy(compiled(x), y).backward()
        assert meter.read().m_coherence == pytest.approx(expected, rel=1e-5)
    meter.close()
    F.cross_entropy(compiled(x), y).backward()
