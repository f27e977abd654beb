"""Property: where the examples are in what a module is given beside its first tensor.

Oracle: the examples one at a time, by autograd.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gengap.data import Split
from gengap.gradients import CoherenceMeter, gradient_statistics
from gengap.risk import Risk
from tests.gradients.meter_oracle import gradients_one_by_one, m_coherence_of

FEATURES = 8


class Padded(nn.Module):
    """What follows sees [t, b, f], and which of [b, t] is padding."""

    def __init__(self, build, *, batch_first=False):
        super().__init__()
        self.inner, self.batch_first = build(batch_first), batch_first
        self.head = nn.Linear(FEATURES, 3)

    def forward(self, x):
        padding = x[..., 0] > 9
        sequence = x if self.batch_first else x.transpose(0, 1)
        found = self.called(sequence, padding)
        return self.head((found if self.batch_first else found.transpose(0, 1)).mean(1))

    def called(self, sequence, padding):
        return self.inner(sequence, src_key_padding_mask=padding)


class Attention(Padded):
    def called(self, sequence, padding):
        return self.inner(sequence, sequence, sequence, padding)[0]


class HeadMasks(Padded):
    """One mask a head of every example, [b h, t, t]; floats are learned, from the example."""

    def __init__(self, build, *, learned, batch_first=False):
        super().__init__(build, batch_first=batch_first)
        self.bias = nn.Linear(FEATURES, 2) if learned else None

    def called(self, sequence, padding):
        b, t = padding.shape
        mask = padding[:, None, None].expand(b, 2, t, t)
        if self.bias is not None:
            rows = sequence if self.batch_first else sequence.transpose(0, 1)
            bias = self.bias(rows).permute(0, 2, 1)  # [b, h, t]
            mask = (bias.unsqueeze(3) - bias.unsqueeze(2)).masked_fill(mask, -1e9)
        mask = mask.reshape(2 * b, t, t)
        return self.inner(sequence, sequence, sequence, attn_mask=mask, need_weights=False)[0]


class LayerMasks(HeadMasks):
    def called(self, sequence, padding):
        b, t = padding.shape
        mask = padding[:, None, None].expand(b, 2, t, t).reshape(2 * b, t, t)
        return self.inner(sequence, mask)


class Masked(nn.Module):
    """A user's own parameter, applied where a mask [b, t] lets it."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, FEATURES))

    def forward(self, x, padding):
        return torch.where(padding.mT.unsqueeze(-1), 0, (self.scale * x).sin())


class Gated(nn.Module):
    """Positions [t] or [t, f] behind a gate that is closed: outputs do not show whose they are."""

    def __init__(self, batch_first, wide):
        super().__init__()
        self.gate, self.batch_first, self.wide = nn.Parameter(torch.zeros(1)), batch_first, wide

    def forward(self, x, positions):
        rows = positions if self.wide else positions.unsqueeze(-1)
        return x + self.gate * (x + (rows if self.batch_first else rows.unsqueeze(1))).sin()


class Positions(Padded):
    def called(self, sequence, padding):
        length = sequence.shape[1 if self.batch_first else 0]
        positions = torch.arange(1.0, length + 1, dtype=sequence.dtype)
        if self.inner.wide:
            positions = positions.outer(torch.arange(1.0, FEATURES + 1, dtype=sequence.dtype))
        return self.inner(sequence, positions)


class Subclass(nn.MultiheadAttention):
    """Another signature than PyTorch's."""

    def forward(self, x, mask):
        return super().forward(x, x, x, key_padding_mask=mask, need_weights=False)[0]


class Own(Padded):
    def called(self, sequence, padding):
        return self.inner(sequence, padding)


def layer(batch_first):
    return nn.TransformerEncoderLayer(FEATURES, 2, 16, dropout=0.0, batch_first=batch_first)


def attention(batch_first):
    return nn.MultiheadAttention(FEATURES, 2, batch_first=batch_first)


class Recurrent(nn.Module):
    """One tensor is two weights of the layer; its first state comes from the example."""

    def __init__(self, batch_first):
        super().__init__()
        self.batch_first, self.head = batch_first, nn.Linear(FEATURES, 3)
        self.inner = nn.RNN(FEATURES, FEATURES, batch_first=batch_first)
        self.inner.weight_hh_l0 = self.inner.weight_ih_l0

    def forward(self, x):
        sequence = x if self.batch_first else x.transpose(0, 1)
        found = self.inner(sequence, x[:, :1].movedim(1, 0).contiguous())[0]
        return self.head(found.sum(1 if self.batch_first else 0))


BUILDS = {
    "attention": lambda: Attention(attention),
    "attention, batch first": lambda: Attention(attention, batch_first=True),
    "layer": lambda: Padded(layer),
    "masks of heads": lambda: HeadMasks(attention, learned=False),
    "masks of heads, batch first": lambda: HeadMasks(attention, learned=False, batch_first=True),
    "learned masks of heads": lambda: HeadMasks(attention, learned=True),
    "learned masks of heads, batch first": lambda: HeadMasks(
        attention, learned=True, batch_first=True
    ),
    "masks of heads in a layer": lambda: LayerMasks(layer, learned=False),
    "own module": lambda: Own(lambda batch_first: Masked()),
    "subclass": lambda: Own(lambda batch_first: Subclass(FEATURES, 2)),
    "positions [t]": lambda: Positions(lambda first: Gated(first, False)),
    "positions [t, f]": lambda: Positions(lambda first: Gated(first, True)),
    "positions [t], batch first": lambda: Positions(
        lambda first: Gated(first, False), batch_first=True
    ),
    "positions [t, f], batch first": lambda: Positions(
        lambda first: Gated(first, True), batch_first=True
    ),
    "tied recurrent": lambda: Recurrent(False),
    "tied recurrent, batch first": lambda: Recurrent(True),
}


def drawn(b, length, seed=0):
    """Examples, one of which has padding: none of those that are always compared."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(b, length, FEATURES, generator=draw, dtype=torch.float64)
    x[1, -2:, 0] = 10
    return x, torch.arange(b) % 3


def made(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return BUILDS[name]().double()


@pytest.mark.parametrize("length", [4, 6])
@pytest.mark.parametrize("name", BUILDS)
def test_norms_are_those_of_single_examples(name, length):
    model, (x, y) = made(name), drawn(6, length)
    expected = sum(g.square().sum(1) for g in gradients_one_by_one(model, x, y).values())
    risk = Risk(model, Split(inputs=x, targets=y, num_classes=3))
    found = gradient_statistics(risk, check=True)
    torch.testing.assert_close(found.squared_norms, expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", BUILDS)
def test_a_meter_reads_them_in_batches_of_several_shapes(name):
    model = made(name)
    with CoherenceMeter(model) as meter:
        for seed, (b, length) in enumerate([(6, 6), (6, 4), (4, 6), (6, 6)]):
            x, y = drawn(b, length, seed)
            model.zero_grad()
            F.cross_entropy(model(x), y).backward()
            blocks = gradients_one_by_one(model, x, y)
            assert meter.read().m_coherence == pytest.approx(m_coherence_of(blocks), rel=1e-9)


def test_gradients_that_cancel_add_up_where_a_mask_could_be_two_things():
    class Causal(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.MultiheadAttention(FEATURES, 2, batch_first=True)

        def forward(self, x):
            mask = torch.ones(6, 6).triu(1).bool()
            return self.inner(x, x, x, attn_mask=mask)[0].sum((1, 2))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Causal()
    x = drawn(3, 6)[0].float().clamp(max=1).repeat(2, 1, 1)
    signs = torch.tensor([1.0, 1.0, 1.0, -1.0, -1.0, -1.0])
    with CoherenceMeter(model) as meter:
        (model(x) * signs).sum().backward()
        assert meter.read().m_coherence < 1e-6
