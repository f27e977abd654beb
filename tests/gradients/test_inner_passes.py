"""Twin: networks with backward passes, transforms and shapes of their own within a call.

Oracle: autograd, one example at a time.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.checkpoint import checkpoint

from gengap import Risk
from gengap.data import as_split
from gengap.gradients import CoherenceMeter, per_example_squared_norms
from gengap.optim import WinsorizedSGD, winsorized_mean
from tests.gradients.meter_oracle import gradients_one_by_one, m_coherence_of

pytestmark = pytest.mark.global_rng("torch")


def data(n=6, *shape):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, *(shape or (8,)), generator=generator), torch.arange(n) % 3


class Middle(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(8, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.last(self.mixed(torch.tanh(self.first(x))))


class InnerStep(Middle):
    """Takes a step of its own for each example before it answers."""

    def mixed(self, h):
        found = []
        for row in h.split(1):
            with torch.enable_grad():
                inner = self.middle(row).square().mean()
                (slope,) = torch.autograd.grad(inner, [self.middle.weight])
            found.append(F.linear(row, self.middle.weight - 0.5 * slope, self.middle.bias))
        return torch.cat(found).tanh()


class Monitored(Middle):
    """Looks, in a backward hook, at another gradient by a weight that is used twice."""

    seen = None

    def mixed(self, h):
        z = torch.tanh(self.middle(torch.tanh(self.middle(h))))

        def look(gradient):
            with torch.enable_grad():
                again = self.middle(h.detach())
            found = torch.autograd.grad(again, [self.middle.weight], gradient, allow_unused=True)
            self.seen = found[0]

        if z.requires_grad:
            z.register_hook(look)
        return z


class Vectorized(Middle):
    def mixed(self, h):
        return torch.vmap(self.middle)(h).tanh()


class Packed(nn.Module):
    """A recurrent layer on sequences of unlike lengths."""

    def __init__(self):
        super().__init__()
        self.rnn, self.last = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x):
        lengths = 1 + (x[:, 0, 0] > 0).long() + (x[:, 0, 1] > 0).long()
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return self.last(self.rnn(packed)[1][0][0])


@pytest.mark.parametrize("build", [InnerStep, Monitored, Vectorized, Packed])
def test_a_risk_counts_what_the_batch_s_own_pass_asks_for(build):
    torch.manual_seed(0)
    model, (x, y) = build(), data(7, *((3, 4) if build is Packed else (8,)))
    risk = Risk(model, as_split((x, y)), dtype=torch.float64)
    rows = gradients_one_by_one(model.double(), x.double(), y)
    wanted = torch.cat(list(rows.values()), 1).square().sum(1)
    torch.testing.assert_close(per_example_squared_norms(risk), wanted, rtol=1e-9, atol=1e-14)
    if build is Monitored:
        assert risk.model.seen is not None


class _Again(torch.autograd.Function):
    """Computes its input anew in the backward pass, as reversible networks do."""

    @staticmethod
    def forward(ctx, layer, x):
        ctx.layer = layer
        ctx.save_for_backward(x)
        with torch.no_grad():
            return layer(x)

    @staticmethod
    def backward(ctx, delta):
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            output = ctx.layer(x)
        torch.autograd.backward(output, delta)
        return None, x.grad


class Reversible(Middle):
    def mixed(self, h):
        return _Again.apply(self.middle, h)


def test_a_risk_refuses_a_pass_within_that_adds_to_the_gradients():
    torch.manual_seed(0)
    risk = Risk(Reversible(), as_split(data()))
    with pytest.raises(ValueError, match=r"adds to `\.grad` of 'middle\.\w+' within"):
        per_example_squared_norms(risk)


class Standardized(nn.Conv1d):
    """Computes with a weight that is made of its own, by a function."""

    def forward(self, x):
        return F.conv1d(x, self.weight - self.weight.mean((1, 2), keepdim=True), self.bias)


def test_a_convolution_with_a_forward_of_its_own_is_metered():
    torch.manual_seed(0)
    model = nn.Sequential(Standardized(4, 5, 2), nn.Tanh(), nn.Flatten(), nn.Linear(10, 3)).double()
    x, y = data(7, 4, 3)
    x = x.double()
    rows = gradients_one_by_one(model, x, y)
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model(x), y).backward()
        assert meter.read().m_coherence == pytest.approx(m_coherence_of(rows), rel=1e-9)
    optimizer = WinsorizedSGD(model.parameters(), model=model, percent=20)
    optimizer.zero_grad()
    with optimizer.robust():
        F.cross_entropy(model(x), y).backward()
    optimizer.step()


class Given(nn.Module):
    """Is given the positions of its tokens: one for all examples, or theirs."""

    def __init__(self):
        super().__init__()
        self.table, self.last = nn.Embedding(9, 6), nn.Linear(6, 3)

    def forward(self, x, places):
        return self.last((x + self.table(places)).tanh().mean(1))


@pytest.mark.parametrize(("n", "length"), [(6, 5), (6, 6), (3, 3)])
def test_positions_may_be_as_many_as_examples(n, length):
    """Or [1, t] and then [b, t]."""
    torch.manual_seed(0)
    model, (x, y) = Given().double(), data(n, length, 6)
    x, places = x.double(), torch.arange(length)
    for_one = m_coherence_of(_rows(model, x, y, places))
    with CoherenceMeter(model) as meter:
        for given in (places, places[None], places.expand(n, -1), places[None]):
            F.cross_entropy(model(x, given), y).backward()
            assert meter.read().m_coherence == pytest.approx(for_one, rel=1e-9)


def _rows(model, x, y, places):
    rows = []
    for i in range(len(x)):
        loss = F.cross_entropy(model(x[i : i + 1], places), y[i : i + 1])
        grads = torch.autograd.grad(loss, list(model.parameters()))
        rows.append(torch.cat([g.flatten() for g in grads]))
    return {"all": torch.stack(rows)}


class Counter:
    def __init__(self):
        self.seen = 0


class Counted(Middle):
    """Counts its examples in an object of the user's own."""

    def __init__(self):
        super().__init__()
        self.counter = Counter()

    def mixed(self, h):
        self.counter.seen += len(h)
        return h


def test_a_trial_leaves_objects_of_the_users_own_as_they_are():
    torch.manual_seed(0)
    model, (x, y) = Counted(), data(6)
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model(x), y).backward()
        meter.read()
    assert model.counter.seen == 6


class Hooked(Middle):
    """Asks, in a backward hook, for a gradient by a weight of its own."""

    def mixed(self, h):
        found = self.middle(h)

        def look(gradient):
            with torch.enable_grad():
                again = self.middle(torch.ones_like(h)).square().sum()
            self.seen = torch.autograd.grad(again, [self.middle.weight], allow_unused=True)[0]

        if found.requires_grad:
            found.register_hook(look)
        return found


class Recurrent(nn.Sequential):
    """Is called within a checkpoint, and has a layer that is differentiated in one piece."""

    def __init__(self):
        super().__init__(nn.Unflatten(1, (4, 2)), nn.LSTM(2, 3, batch_first=True))
        self.last = nn.Linear(3, 3)

    def forward(self, x):
        return checkpoint(self.inner, x, use_reentrant=False)

    def inner(self, x):
        return self.last(self[1](self[0](x))[0][:, -1])


@pytest.mark.parametrize("build", [Hooked, Reversible, Recurrent])
def test_passes_and_checkpoints_within_do_not_hinder_the_comparison(build):
    torch.manual_seed(0)
    model, (x, y) = build().double(), data(7)
    x = x.double()
    rows = gradients_one_by_one(model, x, y)
    optimizer = WinsorizedSGD(model.parameters(), model=model, percent=20)
    with optimizer.robust():
        F.cross_entropy(model(x), y).backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, winsorized_mean(rows[name], 20).view_as(p))
