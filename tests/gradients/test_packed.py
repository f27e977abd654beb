"""Property: recurrent layers on packed sequences, under a meter and a risk.

Oracle: the examples one at a time, by autograd; PyTorch's own gradients and outputs.
"""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from gengap.data import Split
from gengap.gradients import CoherenceMeter, gradient_statistics
from gengap.gradients._packed import Packing
from gengap.optim import WinsorizedSGD
from gengap.risk import Risk
from gengap.training import build_seeded
from tests.gradients.meter_oracle import gradients_one_by_one, m_coherence_of

FEATURES, WIDTH, CLASSES = 3, 4, 3


class Packed(nn.Module):
    """Embeds tokens, runs a recurrent layer on as many as there are, and averages what it gives."""

    def __init__(
        self, kind, *, sort=False, comes_sorted=False, start=False, keyword=False, **options
    ):
        super().__init__()
        self.table = nn.Embedding(11, FEATURES)
        self.inner = kind(FEATURES, WIDTH, **options)
        self.sort, self.start, self.keyword = sort, start, keyword
        self.sorted = sort or comes_sorted
        sides = 2 if self.inner.bidirectional else 1
        width = self.inner.proj_size or WIDTH
        self.states = nn.Linear(FEATURES, sides * self.inner.num_layers * width)
        self.head = nn.Linear(2 * sides * width, CLASSES)

    def forward(self, tokens):
        first = self.inner.batch_first
        lengths = (tokens != 0).sum(1)
        order = lengths.argsort(descending=True) if self.sort else torch.arange(len(tokens))
        rows = self.table(tokens[order])
        packed = pack_padded_sequence(
            rows if first else rows.transpose(0, 1),
            lengths[order].cpu(),
            batch_first=first,
            enforce_sorted=self.sorted,
        )
        given = {"input": packed} if self.keyword else {}
        outputs, last = self.inner(*([] if given else [packed]), **given, **self.begun(rows))
        steps, counts = pad_packed_sequence(outputs, batch_first=True)
        hidden = last[0] if isinstance(last, tuple) else last
        sides = hidden[-2:] if self.inner.bidirectional else hidden[-1:]
        mean = steps.sum(1) / counts.to(steps)[:, None]
        found = self.head(torch.cat([mean, sides.transpose(0, 1).flatten(1)], 1))
        return found[order.argsort()]

    def begun(self, rows):
        if not self.start:
            return {}
        width = self.inner.proj_size or WIDTH
        state = self.states(rows[:, 0]).unflatten(1, (-1, width)).transpose(0, 1).contiguous()
        cells = torch.zeros(len(state), len(rows), WIDTH, dtype=rows.dtype)
        return {"hx": (state, cells) if isinstance(self.inner, nn.LSTM) else state}


BUILDS = {
    "RNN": lambda: Packed(nn.RNN),
    "RNN, batch first, ReLU": lambda: Packed(nn.RNN, batch_first=True, nonlinearity="relu"),
    "GRU, two layers, both ways": lambda: Packed(nn.GRU, num_layers=2, bidirectional=True),
    "GRU, batch first, from a state": lambda: Packed(nn.GRU, start=True, batch_first=True),
    "LSTM, batch first": lambda: Packed(nn.LSTM, batch_first=True),
    "LSTM, both ways, projected, from a state": lambda: Packed(
        nn.LSTM, start=True, keyword=True, bidirectional=True, proj_size=2
    ),
    "LSTM, two layers, without biases": lambda: Packed(
        nn.LSTM, num_layers=2, bias=False, batch_first=True
    ),
}


SORTED = "a model that sorts its examples"
COMES_SORTED = "a model whose examples come sorted"
ALL = {
    **BUILDS,
    SORTED: lambda: Packed(nn.GRU, sort=True, start=True, batch_first=True),
    COMES_SORTED: lambda: Packed(nn.LSTM, comes_sorted=True, batch_first=True),
}


def drawn(b, seed=0):
    """Tokens with zeros behind their ends; lengths 1 to 7."""
    draw = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, 11, (b, 7), generator=draw)
    lengths = torch.randint(1, 8, (b,), generator=draw)
    tokens[torch.arange(7) >= lengths[:, None]] = 0
    return tokens, torch.randint(CLASSES, (b,), generator=draw)


def made(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ALL[name]().double()


@pytest.mark.parametrize("name", BUILDS)
def test_a_meter_reads_them(name):
    model = made(name)
    with CoherenceMeter(model) as meter:
        for seed, b in enumerate([6, 9, 5, 6, 2]):
            x, y = drawn(b, seed)
            model.zero_grad()
            F.cross_entropy(model(x), y).backward()
            blocks = gradients_one_by_one(copy.deepcopy(model), x, y)
            assert meter.read().m_coherence == pytest.approx(m_coherence_of(blocks), rel=1e-9)


@pytest.mark.parametrize("name", BUILDS)
def test_outputs_and_gradients_stay(name):
    model, (x, y) = made(name), drawn(6)
    expected = model(x)
    F.cross_entropy(expected, y).backward()
    gradients = {k: p.grad for k, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    with CoherenceMeter(model):
        outputs = model(x)
        F.cross_entropy(outputs, y).backward()
    torch.testing.assert_close(outputs, expected, rtol=0, atol=0)
    for name, p in model.named_parameters():
        if name in gradients:
            torch.testing.assert_close(p.grad, gradients[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", [*BUILDS, SORTED])
def test_norms_are_those_of_single_examples(name):
    model, (x, y) = made(name), drawn(8)
    expected = sum(g.square().sum(1) for g in gradients_one_by_one(model, x, y).values())
    risk = Risk(model, Split(inputs=x, targets=y, num_classes=CLASSES))
    found = gradient_statistics(risk, check=True)
    torch.testing.assert_close(found.squared_norms, expected, rtol=1e-9, atol=0)


def test_robust_sgd_with_nothing_left_out_is_sgd():
    model, (x, y) = made("LSTM, batch first"), drawn(6)
    plain = copy.deepcopy(model)
    F.cross_entropy(plain(x), y).backward()
    used = [p for p in model.parameters() if p is not model.states.weight]
    optimizer = WinsorizedSGD(used, 0.1, percent=0, model=model)
    with optimizer.robust():
        F.cross_entropy(model(x), y).backward()
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        if theirs.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=1e-12)


def test_examples_that_come_sorted_are_metered():
    model, (x, y) = made(COMES_SORTED), drawn(8)
    x = x[(x != 0).sum(1).argsort(descending=True, stable=True)]
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model(x), y).backward()
        blocks = gradients_one_by_one(copy.deepcopy(model), x, y)
        assert meter.read().m_coherence == pytest.approx(m_coherence_of(blocks), rel=1e-9)


def test_a_model_that_sorts_its_examples_is_refused():
    model, (x, y) = made(SORTED), drawn(8)
    with CoherenceMeter(model), pytest.raises(ValueError, match="keep the examples apart"):
        F.cross_entropy(model(x), y).backward()


def test_tied_weights_are_refused_by_name():
    model = made("RNN, batch first, ReLU")
    model.inner = build_seeded(lambda: nn.RNN(FEATURES, FEATURES, batch_first=True), 0).double()
    model.inner.weight_hh_l0 = model.inner.weight_ih_l0
    model.head = build_seeded(lambda: nn.Linear(2 * FEATURES, CLASSES), 0).double()
    x, y = drawn(6)
    with CoherenceMeter(model), pytest.raises(ValueError, match=r"'inner'.*packed.*tied"):
        F.cross_entropy(model(x), y).backward()


def test_a_packed_sequence_that_comes_from_outside_is_refused():
    model = build_seeded(lambda: nn.GRU(FEATURES, WIDTH), 0)
    packed = pack_padded_sequence(torch.ones(4, 3, FEATURES), torch.tensor([4, 3, 1]))
    with CoherenceMeter(model), pytest.raises(ValueError, match="pack them itself"):
        model(packed)


@pytest.mark.parametrize("sort", [False, True])
def test_packing_and_padding_undo_each_other(sort):
    lengths = torch.tensor([4, 3, 1] if sort else [3, 1, 4])
    steps = torch.arange(1.0, 25).view(4, 3, 2)
    steps = steps * (torch.arange(4)[:, None] < lengths)[..., None]
    packed = pack_padded_sequence(steps, lengths, enforce_sorted=sort)
    packing = Packing.of(packed, batch_first=False)
    assert packing.lengths.tolist() == lengths.tolist()
    torch.testing.assert_close(packing.padded(packed.data), steps)
    torch.testing.assert_close(packing.packed(steps), packed.data)
