"""Twin: class tokens, expanded to the batch, under a meter and robust SGD; each example alone."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gengap.gradients import CoherenceMeter
from gengap.optim import WinsorizedSGD

pytestmark = pytest.mark.global_rng("torch")

WAYS = {
    "sizes": ((1, 1, 4), lambda token, b: token.expand(b, -1, -1)),
    "a tuple": ((1, 2, 4), lambda token, b: token.expand((b, 2, 4))),
    "new axes": ((4,), lambda token, b: token.expand(b, 1, 4)),
}


class Transformer(nn.Module):
    """Puts tokens before those of an example, and adds positions."""

    def __init__(self, way):
        super().__init__()
        shape, self.expanded = WAYS[way]
        self.token = nn.Parameter(torch.randn(shape))
        self.places = nn.Parameter(torch.randn(1, 3 + (shape[1] if len(shape) > 1 else 1), 4))
        self.mixed, self.last = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        h = torch.cat([self.expanded(self.token, len(x)), x.view(len(x), 3, 4)], 1) + self.places
        return self.last((h * self.mixed(h).softmax(1)).sum(1).tanh())


class Heads(nn.Module):
    """Expands a parameter to something else than the batch."""

    def __init__(self, heads):
        super().__init__()
        self.heads, self.token, self.last = (
            heads,
            nn.Parameter(torch.randn(1, 12)),
            nn.Linear(12, 3),
        )

    def forward(self, x):
        several = self.token.expand(self.heads, 12)
        return self.last((x[:, None] * several).sum(1).tanh())


def data(b=6):
    return torch.randn(b, 12, dtype=torch.float64), torch.arange(b) % 3


def rows_of(model, x, y):
    """Return the gradients of the mean loss's examples, name to [b, *shape]."""
    found = {name: [] for name, _ in model.named_parameters()}
    for i in range(len(x)):
        loss = F.cross_entropy(model(x[i : i + 1]), y[i : i + 1])
        grads = torch.autograd.grad(loss, list(model.parameters()))
        for rows, g in zip(found.values(), grads, strict=True):
            rows.append(g)
    return {name: torch.stack(rows) for name, rows in found.items()}


@pytest.mark.parametrize("way", WAYS)
def test_a_meter_reads_what_examples_alone_have(way):
    model = Transformer(way).double()
    for b in (6, 1, 4):
        x, y = data(b)
        rows = torch.cat([g.flatten(1) for g in rows_of(model, x, y).values()], 1)
        model.zero_grad()
        with CoherenceMeter(model) as meter:
            F.cross_entropy(model(x), y).backward()
            found = meter.read().m_coherence
        total = rows.sum(0)
        wanted = float(total.square().sum() / rows.square().sum())
        assert found == pytest.approx(wanted, rel=1e-10)
        grads = torch.cat([p.grad.flatten() for p in model.parameters()])
        torch.testing.assert_close(grads, total / b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("way", WAYS)
def test_a_robust_step_takes_each_example(way):
    model, (x, y) = Transformer(way).double(), data(10)
    wanted = {name: rows.sort(0).values[1:-1] for name, rows in rows_of(model, x, y).items()}
    optimizer = WinsorizedSGD(model.parameters(), 1.0, model=model, percent=10)
    with optimizer.robust():
        F.cross_entropy(model(x), y).backward()
    for name, p in model.named_parameters():
        kept = wanted[name]
        mean = (kept.sum(0) + kept[0] + kept[-1]) / 10
        torch.testing.assert_close(p.grad, mean, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("heads", [1, 2, 6])
def test_what_is_expanded_to_something_else_is_no_examples_own(heads):
    """Also where there are as many of it as examples."""
    model, (x, y) = Heads(heads).double(), data(6)
    rows = torch.cat([g.flatten(1) for g in rows_of(model, x, y).values()], 1)
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model(x), y).backward()
        found = meter.read().m_coherence
    assert found == pytest.approx(float(rows.sum(0).square().sum() / rows.square().sum()), rel=1e-9)
