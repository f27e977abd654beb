"""Twin: layers without a rule of their own, of drawn shapes. Oracle: each example alone."""

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from gengap import Risk
from gengap.data import Split
from gengap.gradients import gradient_statistics, per_example_block_dots, per_example_dots
from tests.reference.per_example import gradients_one_by_one

pytestmark = pytest.mark.global_rng("torch")
drawn = settings(max_examples=25, deadline=None)
few, sizes = st.integers(1, 3), st.integers(1, 4)


class Steps(nn.Module):
    """A recurrent layer, its outputs summed over the steps."""

    def __init__(self, layer, width, last):
        super().__init__()
        self.layer, self.last = layer, nn.Linear(width, last)

    def forward(self, x):
        x = x if self.layer.batch_first else x.transpose(0, 1)
        return self.last(self.layer(x)[0].sum(1 if self.layer.batch_first else 0))


class Attention(nn.Module):
    def __init__(self, layer, width):
        super().__init__()
        self.layer, self.last = layer, nn.Linear(width, 3)

    def forward(self, x):
        x = x if self.layer.batch_first else x.transpose(0, 1)
        found = self.layer(x, x, x, need_weights=False)[0]
        return self.last(found.sum(1 if self.layer.batch_first else 0))


class Shifted(nn.Module):
    """A parameter of any shape that is broadcast to the examples, added or multiplied."""

    def __init__(self, shape, size, product):
        super().__init__()
        self.own, self.product, self.last = (
            nn.Parameter(torch.randn(shape)),
            product,
            nn.Linear(size, 3),
        )

    def forward(self, x):
        h = x * self.own if self.product else x + self.own
        return self.last(h.tanh().flatten(1))


def agrees(model, x):
    model, x = model.double(), x.double()
    split = Split(inputs=x, targets=torch.arange(len(x)) % 3, num_classes=3)
    risk = Risk(model, split, dtype=torch.float64, chunk=3)
    twin = gradients_one_by_one(risk.model, split.inputs, split.targets, risk.losses)
    direction = {name: torch.randn_like(p) for name, p in risk.params.items()}
    found, blocks = gradient_statistics(risk), per_example_block_dots(risk, direction)
    scale = max(float(g.abs().max()) for g in twin.values()) ** 2
    total = torch.zeros(len(x), dtype=torch.float64)
    for name, rows in twin.items():
        flat = rows.reshape(len(x), -1)
        along = flat @ direction[name].flatten()
        total += along
        near(found.block_squared_norms[name], flat.square().sum(1), scale)
        near(found.sum[name].flatten(), flat.sum(0), scale**0.5)
        near(blocks[name], along, scale**0.5)
    near(per_example_dots(risk, direction), total, scale**0.5)


def near(ours, theirs, scale):
    assert float((ours - theirs).abs().max()) <= 1e-9 * (float(theirs.abs().max()) + scale)


@drawn
@given(
    st.sampled_from([nn.RNN, nn.LSTM, nn.GRU]), sizes, sizes, st.integers(1, 2), st.booleans(),
    st.booleans(), st.booleans(), st.integers(2, 5), sizes,
)  # fmt: skip
def test_recurrent_layers(kind, width, hidden, layers, bias, both, first, b, steps):
    layer = kind(width, hidden, layers, bias=bias, bidirectional=both, batch_first=first)
    agrees(Steps(layer, hidden * (1 + both), 3), torch.randn(b, steps, width))


@drawn
@given(few, few, st.booleans(), st.booleans(), st.integers(2, 5), sizes)
def test_attention(heads, each, bias, first, b, steps):
    layer = nn.MultiheadAttention(heads * each, heads, bias=bias, batch_first=first)
    if bias:
        nn.init.normal_(layer.in_proj_bias)
    agrees(Attention(layer, heads * each), torch.randn(b, steps, heads * each))


@drawn
@given(st.lists(sizes, min_size=1, max_size=3), st.data(), st.booleans(), st.integers(2, 5))
def test_added_and_multiplied_parameters(shape, data, product, b):
    kept = data.draw(st.integers(0, len(shape)))
    own = [data.draw(st.sampled_from([1, n])) for n in shape[len(shape) - kept :]]
    leading = [1] if kept == len(shape) and data.draw(st.booleans()) else []
    size = torch.Size(shape).numel()
    agrees(Shifted((*leading, *own), size, product), torch.randn(b, *shape))
