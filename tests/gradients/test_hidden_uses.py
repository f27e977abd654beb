"""Twin: networks that use parameters, rows and hooks in ways that no layer shows.

Oracle: each example alone; and autograd without a meter.
"""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import gengap
from gengap.data import as_split
from gengap.gradients import (
    CoherenceMeter,
    gradient_statistics,
    per_example_dots,
    per_example_squared_norms,
)
from gengap.optim import WinsorizedSGD


class Standardized(nn.Conv1d):
    """A convolution whose weight is computed anew in every call."""

    def forward(self, x):
        return self._conv_forward(
            x, self.weight - self.weight.mean((1, 2), keepdim=True), self.bias
        )


class HalfComputed(nn.Module):
    """A linear function of its own with a computed bias, beside a layer."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = (nn.Parameter(torch.randn(*s)) for s in ((5, 6), (5,)))
        self.last = nn.Linear(5, 3)

    def forward(self, x):
        return self.last(F.linear(x, self.weight, self.bias * 2).tanh())


class TiedDirections(nn.Module):
    """A recurrent layer whose two directions share their weights."""

    def __init__(self):
        super().__init__()
        self.steps, self.last = nn.GRU(3, 4, bidirectional=True, batch_first=True), nn.Linear(8, 3)
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            setattr(self.steps, f"{kind}_l0_reverse", getattr(self.steps, f"{kind}_l0"))

    def forward(self, x):
        return self.last(self.steps(x.view(-1, 2, 3))[0].mean(1))


class Decoder(nn.Module):
    """Uses a weight of somebody else's."""

    def __init__(self, weight):
        super().__init__()
        self.tied, self.bias = [weight], nn.Parameter(torch.randn(6))

    def forward(self, x):
        return F.linear(x, self.tied[0].T, self.bias)


class AutoEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(6, 4)
        self.decoder, self.last = Decoder(self.encoder.weight), nn.Linear(6, 3)

    def forward(self, x):
        return self.last(self.decoder(self.encoder(x).tanh()))


class Scaling(nn.Module):
    """Scales by its own weight and by what it was given as an attribute."""

    def __init__(self):
        super().__init__()
        self.weight, self.scale = nn.Parameter(torch.ones(6)), 1.0

    def forward(self, x):
        return x * self.weight * self.scale


class Modulated(nn.Module):
    def __init__(self):
        super().__init__()
        self.log, self.inner, self.last = nn.Parameter(torch.randn(6)), Scaling(), nn.Linear(6, 3)

    def forward(self, x):
        self.inner.scale = self.log.exp()
        return self.last(self.inner(x).tanh())


class Spectrum(nn.Module):
    """Real gains on complex numbers, beside a layer."""

    def __init__(self):
        super().__init__()
        self.gains, self.last = nn.Parameter(torch.randn(4)), nn.Linear(6, 3)

    def forward(self, x):
        return self.last(torch.fft.irfft(torch.fft.rfft(x) * self.gains, n=6).tanh())


class OneImageAtATime(nn.Module):
    """InstanceNorm on images without a batch, as many channels as rows."""

    def __init__(self):
        super().__init__()
        self.norm, self.last = nn.InstanceNorm2d(2, affine=True), nn.Linear(6, 3)

    def forward(self, x):
        images = x.view(-1, 1, 2, 3).expand(-1, 2, -1, -1) * torch.tensor([1.0, 2.0])[:, None, None]
        rows = torch.stack([self.norm(image.tanh()) for image in images])
        return self.last(rows.sum(1).flatten(1).tanh())


class Experts(nn.Module):
    """Sends each of an example's tokens to one of the experts."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(3, 4)
        self.experts, self.last = nn.ModuleList(nn.Linear(3, 3) for _ in range(4)), nn.Linear(3, 3)

    def forward(self, x):
        tokens = x.view(-1, 3)
        chosen, out = self.gate(tokens).argmax(1), torch.zeros_like(tokens)
        for k, expert in enumerate(self.experts):
            rows = (chosen == k).nonzero()[:, 0]
            if len(rows):
                out = out.index_add(0, rows, expert(tokens[rows]).tanh())
        return self.last(out.view(len(x), -1, 3).sum(1))


class StepsFirst(nn.Module):
    """A layer along the steps, of which one is looked at."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(1, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.last(self.first(x.T[..., None]).tanh()[-1])


class SumBeforeChange(nn.Module):
    """Adds a parameter to what is changed in place afterwards."""

    def __init__(self):
        super().__init__()
        self.shift, self.last = nn.Parameter(torch.randn(6)), nn.Linear(6, 3)

    def forward(self, x):
        y = x * 1
        z = y + self.shift
        y.relu_()
        return self.last(z.tanh() + y)


class ChangedAttention(nn.Module):
    """Attention whose output is changed in place."""

    def __init__(self):
        super().__init__()
        self.mix, self.last = nn.MultiheadAttention(3, 1, batch_first=True), nn.Linear(3, 3)

    def forward(self, x):
        z = x.view(-1, 2, 3)
        return self.last(self.mix(z, z, z)[0].masked_fill_(z < -1, 0.0).mean(1))


MODELS = {
    "standardized": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 3)), Standardized(2, 4, 2), nn.Flatten(), nn.Linear(8, 3)
    ),
    "half computed": HalfComputed,
    "tied directions": TiedDirections,
    "another's weight": AutoEncoder,
    "an attribute": Modulated,
    "complex numbers": Spectrum,
    "no batch": OneImageAtATime,
    "experts": Experts,
    "steps first": StepsFirst,
    "sum before a change": SumBeforeChange,
    "changed attention": ChangedAttention,
}


def case(name, n, seed):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = MODELS[name]()
        x = torch.randn(n, 6)
    return model, x, torch.arange(n) % 3


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n", [2, 6, 13])
@pytest.mark.parametrize("name", MODELS)
def test_every_example_has_its_own_gradient(name, n, seed):
    model, x, y = case(name, n, seed)
    risk = gengap.Risk(model, as_split(x, y))
    found = gradient_statistics(risk)
    alone = torch.cat([per_example_squared_norms(risk[i : i + 1]) for i in range(n)])
    ours = torch.stack(list(found.block_squared_norms.values())).sum(0)
    torch.testing.assert_close(ours, alone, rtol=2e-4, atol=1e-7)
    for key, gradient in risk.gradient().items():
        torch.testing.assert_close(found.sum[key].double() / n, gradient, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_a_meter_and_robust_sgd_change_no_gradient_or_refuse(name):
    model, x, y = case(name, 6, 0)
    twin = copy.deepcopy(model)
    if name == "another's weight":
        twin.decoder.tied = [twin.encoder.weight]
    F.cross_entropy(twin(x), y).backward()
    with CoherenceMeter(model) as meter:
        try:
            F.cross_entropy(model(x), y).backward()
            refused = False
        except ValueError:
            refused = True
        if not refused:
            for own, plain in zip(model.parameters(), twin.parameters(), strict=True):
                torch.testing.assert_close(own.grad, plain.grad, rtol=1e-4, atol=1e-6)
            try:
                reading = meter.read().m_coherence
            except ValueError:
                refused = True
        if not refused:
            exact = gengap.coherence(gengap.Risk(twin, as_split(x, y))).m_coherence
            assert reading == pytest.approx(exact, rel=1e-4)
    model.zero_grad()
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = WinsorizedSGD(model.parameters(), lr=1.0, percent=0, model=model)
    try:
        with optimizer.robust():
            F.cross_entropy(model(x), y).backward()
        optimizer.step()
    except (ValueError, RuntimeError):
        return
    for own, old, plain in zip(model.parameters(), before, twin.parameters(), strict=True):
        torch.testing.assert_close(own.detach(), old - plain.grad, rtol=1e-4, atol=1e-5)


def test_a_hook_that_turns_a_gradient_around_is_called_once():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model, x = nn.Sequential(nn.Linear(6, 5), nn.PReLU(), nn.Linear(5, 3)), torch.randn(7, 6)

    class Turn(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return -0.5 * gradient

    model[1].register_forward_hook(lambda module, inputs, output: Turn.apply(output))
    model(x).square().mean().backward()
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    with CoherenceMeter(model):
        model(x).square().mean().backward()
    for p, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, gradient)


def test_a_layer_that_the_first_examples_do_not_use():
    class Rare(nn.Module):
        def __init__(self):
            super().__init__()
            self.rare, self.last = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x):
            rows = (x[:, 0] > 0).nonzero()[:, 0]
            return self.last(x.index_add(0, rows, self.rare(x[rows])) if len(rows) else x)

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model, x = Rare(), torch.randn(12, 6)
    x[:, 0] = -x[:, 0].abs()
    x[7:11, 0] *= -1
    risk = gengap.Risk(model, as_split(x, torch.arange(12) % 3))
    alone = torch.cat([per_example_squared_norms(risk[i : i + 1]) for i in range(12)])
    torch.testing.assert_close(per_example_squared_norms(risk), alone, rtol=1e-4, atol=1e-7)


@pytest.mark.global_rng("torch")
@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_a_table_that_counts_the_tokens_of_its_batch_is_named(kind):
    model = nn.Sequential(kind(7, 4, scale_grad_by_freq=True), nn.Flatten(), nn.LazyLinear(3))
    tokens = torch.arange(20).view(5, 4) % 7
    model(tokens)
    risk = gengap.Risk(model, as_split(tokens, torch.arange(5) % 3, layout="tokens"))
    for use in (gradient_statistics, lambda risk: per_example_dots(risk, risk.params)):
        with pytest.raises(ValueError, match="`scale_grad_by_freq`, '0'"):
            use(risk)
    with pytest.raises(ValueError, match="`scale_grad_by_freq`, '0'"), CoherenceMeter(model):
        model(tokens)
    model[0].weight.requires_grad_(False)
    risk = gengap.Risk(model, as_split(tokens, torch.arange(5) % 3, layout="tokens"))
    assert set(gradient_statistics(risk, check=True).sum) == {"2.weight", "2.bias"}
