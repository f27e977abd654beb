"""Twin: parameters of which a slice or another order is used. Oracle: one example at a time."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import gengap
from gengap.data import Split
from gengap.gradients import CoherenceMeter, gradient_statistics, gram, gsnr, per_example_dots
from gengap.optim import RobustMean, TrimmedMeanSGD
from tests.gradients.meter_oracle import gradients_one_by_one, m_coherence_of

pytestmark = pytest.mark.global_rng


def positions(h, table):
    return h + table[:, : h.shape[1]]


def scales(h, table):
    return h * table[0, 2 : 2 + h.shape[1]]


def in_front(h, table):
    return torch.cat([table[:, :1].expand(len(h), -1, -1), h], dim=1)


WAYS = {
    "slice": positions,
    "product with a slice": scales,
    "view": lambda h, table: h + table.view(9, 4)[1 : 1 + h.shape[1]],
    "another order": lambda h, table: h + table.permute(2, 1, 0)[:, -6:, 0].t(),
    "narrow and squeeze": lambda h, table: table.narrow(1, 0, h.shape[1]).squeeze(0) + h,
    "one row": lambda h, table: h + table[0, 3].unsqueeze(0),
    "two slices": lambda h, table: positions(h, table) * table[0, 1 : 1 + h.shape[1]],
    "class token": in_front,
    "transposed": lambda h, table: h + table.mT.mT[0, : h.shape[1]],
    "swapped": lambda h, table: h + table.swapaxes(0, 1)[: h.shape[1], 0],
    "chunk": lambda h, table: h * table.chunk(3, dim=1)[1][0, :1],
    "split": lambda h, table: h + table.split([6, 3], dim=1)[0],
    "unbound": lambda h, table: h + table[0].unbind(0)[2],
    "expanded as": lambda h, table: h + table[:, : h.shape[1]].expand_as(h),
}


def turned(h, table):
    return h + table.transpose(1, 2).reshape(36)[4:28].view(4, 6).t()


class Model(nn.Module):
    """With a table whose entries lie in the order [1, 4, 9], as `channels_last` would put them."""

    def __init__(self, way, turned=False):
        super().__init__()
        self.words = nn.Embedding(11, 4)
        table = torch.randn(1, 9, 4)
        self.table = nn.Parameter(table.mT.contiguous().mT if turned else table)
        self.out = nn.Linear(4, 3)
        self.way = way

    def forward(self, t):
        return self.out(self.way(self.words(t), self.table).tanh().mean(1))


def case(way, *, turned=False):
    torch.manual_seed(0)
    model = Model(way, turned).double()
    assert model.table.is_contiguous() is not turned
    tokens = torch.randint(11, (8, 6))
    return model, tokens, torch.arange(8) % 3


def forms():
    """Every way, and a table in another order with views that only that order has."""
    inverse = {"view", "another order"}  # of which view() there is none, or a copy
    both = [(way, False, name) for name, way in WAYS.items()]
    both += [(way, True, f"{name}, turned") for name, way in WAYS.items() if name not in inverse]
    both.append((turned, True, "reshape, turned"))
    return [pytest.param(way, other, id=name) for way, other, name in both]


@pytest.mark.parametrize(("way", "other"), forms())
def test_the_meter_reads_them(way, other):
    model, x, y = case(way, turned=other)
    expected = m_coherence_of(gradients_one_by_one(model, x, y))
    plain = torch.autograd.grad(F.cross_entropy(model(x), y), model.table)[0]
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model(x), y).backward()
        assert meter.read().m_coherence == pytest.approx(expected, rel=1e-9)
    torch.testing.assert_close(model.table.grad, plain)


@pytest.mark.parametrize(("way", "other"), forms())
def test_a_risk_has_their_statistics(way, other):
    model, x, y = case(way, turned=other)
    g = gradients_one_by_one(model.eval(), x, y)
    split = Split(inputs=x, targets=y, num_classes=3)
    risk = gengap.Risk(model, split, dtype=torch.float64)
    found = gradient_statistics(risk, check=True)
    norms = found.block_squared_norms["table"]
    torch.testing.assert_close(norms, g["table"].square().sum(1))
    total = found.sum["table"].flatten()
    torch.testing.assert_close(total, g["table"].sum(0))
    direction = {"table": torch.randn_like(model.table)}
    wanted = g["table"] @ direction["table"].detach().flatten()
    torch.testing.assert_close(per_example_dots(risk, direction), wanted)
    rows = torch.cat(list(g.values()), 1)
    torch.testing.assert_close(gram(risk), rows @ rows.T)
    ratios = gsnr(risk)["table"].flatten()
    used = g["table"].abs().sum(0) > 0
    mean, variance = g["table"].mean(0), g["table"].var(0, correction=0)
    torch.testing.assert_close(ratios[used], (mean.square() / variance)[used])


@pytest.mark.parametrize("way", [way for way in WAYS if way != "two slices"])
def test_robust_means_are_taken_of_them(way):
    model, x, y = case(WAYS[way])
    g = gradients_one_by_one(model, x, y)
    optimizer = TrimmedMeanSGD(model.parameters(), lr=1.0, percent=30, model=model)
    before = model.table.detach().clone()
    with optimizer.robust():
        F.cross_entropy(model(x), y).backward()
    optimizer.step()
    mean = RobustMean(kind="trimmed", percent=30).of_rows(g["table"]).view_as(before)
    assert (mean - g["table"].mean(0).view_as(before)).abs().max() > 1e-3
    torch.testing.assert_close(before - model.table, mean)


def test_copies_of_a_part_are_followed():
    model, x, y = case(lambda h, table: h + table[0, torch.arange(6)])
    expected = m_coherence_of(gradients_one_by_one(model, x, y))
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model(x), y).backward()
        assert meter.read().m_coherence == pytest.approx(expected, rel=1e-9)


def test_what_is_no_view_for_autograd_is_not_trained():
    def detached(h, table):
        with torch.no_grad():
            rows = table[0, : h.shape[1]]
        return h + rows

    model, x, y = case(detached)
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model(x), y).backward()
        found = meter.read().m_coherence
    assert model.table.grad is None
    g = gradients_one_by_one(model, x, y)
    assert found == pytest.approx(m_coherence_of(g), rel=1e-9)


def test_hooks_of_a_view_are_heard():
    def hooked(h, table):
        rows = table[0, : h.shape[1]]
        if rows.requires_grad:
            rows.register_hook(lambda gradient: 0 * gradient)
        return h + rows

    model, x, y = case(hooked)
    with CoherenceMeter(model):
        F.cross_entropy(model(x), y).backward()
    assert not model.table.grad.any()


def test_an_index_that_moves_on_is_taken_as_it_was():
    def moving(h, table):
        place = torch.zeros((), dtype=torch.long)
        for _ in range(3):
            h = torch.tanh(h + table[0, place])
            place += 1
        return h

    model, x, y = case(moving)
    expected = m_coherence_of(gradients_one_by_one(model, x, y))
    plain = torch.autograd.grad(F.cross_entropy(model(x), y), model.table)[0]
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model(x), y).backward()
        torch.testing.assert_close(model.table.grad, plain)
        assert meter.read().m_coherence == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("way", WAYS)
def test_a_batch_of_none_is_nothing(way):
    model, x, y = case(WAYS[way])
    expected = m_coherence_of(gradients_one_by_one(model, x, y))
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model(x), y).backward()
        F.cross_entropy(model(x[:0]), y[:0], reduction="sum").backward()
        reading = meter.read()
    assert (reading.m_coherence, reading.examples) == (pytest.approx(expected), 8)
