"""Property: what mixes examples in training mode alone is refused, and dropout is not.

Oracle: networks whose examples are known to hang on each other, or not to.
"""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gengap.gradients import CoherenceMeter
from gengap.optim import WinsorizedSGD
from gengap.training import build_seeded

pytestmark = pytest.mark.global_rng("torch")


class Net(nn.Module):
    """Linear, something, linear."""

    def __init__(self, between):
        super().__init__()
        self.inner, self.head = nn.Linear(6, 8), nn.Linear(8, 5)
        self.between = between() if isinstance(between, type) else between

    def forward(self, x):
        return self.head(self.middle(self.inner(x)))

    def middle(self, z):
        if isinstance(self.between, nn.Module):
            return self.between(z)
        return self.between(z, self.training)


class ByHand(nn.Module):
    """A normalization of one's own, by PyTorch's function."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(8)), nn.Parameter(torch.zeros(8))
        self.register_buffer("mean", torch.zeros(8))
        self.register_buffer("variance", torch.ones(8))

    def forward(self, z):
        given = self.mean, self.variance, self.weight, self.bias
        return F.batch_norm(z, *given, training=self.training)


class Steps(nn.Module):
    """Draws from a generator that nobody finds, and counts in a list of its own."""

    def __init__(self):
        super().__init__()
        self.held = SimpleNamespace(draw=torch.Generator(), seen=[])

    def forward(self, z):
        self.held.seen.append(len(z))
        noise = torch.rand(z.shape, generator=self.held.draw) if self.training else 0
        return z + noise


LOG = []
MIXED = {
    "normalized by hand": ByHand,
    "centred": lambda z, training: z - z.mean(0) if training else z,
    "mixed up": lambda z, training: 0.7 * z + 0.3 * z.flip(0) if training else z,
}
APART = {
    "dropout": lambda: nn.Dropout(0.5),
    "dropout of channels": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 4)), nn.Dropout1d(0.5), nn.Flatten()
    ),
    "function": lambda: lambda z, training: F.alpha_dropout(z, 0.5, training),
    "attention": lambda: (
        lambda z, training: F.scaled_dot_product_attention(
            *(z.unflatten(1, (1, 4, 2)) for _ in range(3)), dropout_p=0.5 * training
        ).flatten(1)
    ),
    "depth": lambda: lambda z, training: z * (torch.rand(len(z), 1) < 0.5) if training else z,
    "steps": lambda: Steps(),
    "a list": lambda: lambda z, training: LOG.append(1) or len(LOG) * z if training else z,
    "another scale": lambda: lambda z, training: 2 * z if training else z,
    "not a number": lambda: lambda z, training: z.sub(9).sqrt() if training else z.sub(8).sqrt(),
}


def batch():
    draw = torch.Generator().manual_seed(0)
    return torch.randn(8, 6, generator=draw), torch.arange(8) % 5


@pytest.mark.parametrize("between", MIXED)
def test_mixing_in_training_mode_alone_is_refused(between):
    model, (x, y) = build_seeded(lambda: Net(MIXED[between]), 0), batch()
    optimizer = WinsorizedSGD(model.parameters(), lr=0.1, percent=20, model=model)
    said = "must not mix the examples of a batch, but in training mode"
    with CoherenceMeter(model), pytest.raises(ValueError, match=said):
        model(x)
    with pytest.raises(ValueError, match=said), optimizer.robust():
        model(x)
    assert not any(buffer.any() and (buffer - 1).any() for buffer in model.buffers())
    model.eval()
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model(x), y).backward()
        assert meter.read().m_coherence > 0


@pytest.mark.parametrize("between", APART)
def test_what_keeps_them_apart_in_training_mode_is_metered(between):
    model, (x, y) = build_seeded(lambda: Net(APART[between]()), 0), batch()

    def step(n):
        torch.manual_seed(1)
        outputs = model(x[:n])
        F.cross_entropy(outputs, y[:n]).backward()
        return outputs

    plain = [step(n) for n in (8, 5)]
    with CoherenceMeter(model):
        metered = [step(n) for n in (8, 5)]
    if between not in ("steps", "a list"):
        torch.testing.assert_close(metered, plain, equal_nan=True)


def test_what_a_trial_in_training_mode_writes_is_not_seen():
    class Writes(Steps):
        def forward(self, z):
            if self.training:
                self.held.seen.append(len(z))
            return z

    model, (x, y) = build_seeded(lambda: Net(Writes), 0), batch()
    calls = []
    model.between.register_forward_hook(lambda module, *_: calls.append(module.training))
    with CoherenceMeter(model):
        F.cross_entropy(model(x), y).backward()
    assert model.between.held.seen == [8] and calls.count(True) == 1


def test_batch_norm_without_running_statistics_is_not_told_to_be_in_training_mode():
    model, (x, _) = build_seeded(lambda: Net(lambda z, training: z), 0).eval(), batch()
    model.between = nn.BatchNorm1d(8, track_running_stats=False).eval()
    said = "'between' has no running statistics: make it with `track_running_stats=True`"
    with CoherenceMeter(model), pytest.raises(ValueError, match=said):
        model(x)
