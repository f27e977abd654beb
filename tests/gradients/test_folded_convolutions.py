"""Twin: gradients of images of few channels, rows taken for channels, against one at a time."""

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional as F

from gengap.gradients import _convolution_rule as rules
from gengap.gradients._convolution_rule import ConvolutionPart, ConvolutionRule


def one_by_one(x, delta, shape, **settings):
    found = []
    for image, row in zip(x, delta, strict=True):
        weight = torch.zeros(shape, dtype=x.dtype, requires_grad=True)
        output = F.conv2d(image[None], weight, **settings)
        found.append(torch.autograd.grad(output, weight, row[None])[0])
    return torch.stack(found)


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=60, deadline=None)
@given(
    channels=st.integers(1, 15),
    outputs=st.integers(1, 5),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=pairs,
    dilation=pairs,
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    examples=st.integers(1, 12),
    seed=st.integers(0, 1000),
)
def test_they_are_the_gradients(
    channels, outputs, kernel, stride, dilation, padding, examples, seed
):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(examples, channels, 13, 15, generator=draw, dtype=torch.float64)
    shape = torch.Size((outputs, channels, *kernel))
    how = {"stride": stride, "dilation": dilation, "padding": padding}
    like = F.conv2d(x, torch.zeros(shape, dtype=x.dtype), **how)
    delta = torch.randn(like.shape, generator=draw, dtype=torch.float64)
    rule = ConvolutionRule(**how, output_padding=(0, 0))
    expected = one_by_one(x, delta, shape, **how)
    torch.testing.assert_close(rules._folded(rule, x, delta, shape), expected)
    part = ConvolutionPart(rule, x, delta, shape, 1)
    torch.testing.assert_close(part.dense(), expected)
    torch.testing.assert_close(part.sum(), expected.sum(0))
    torch.testing.assert_close(part.squared_norms(), expected.flatten(1).square().sum(1))


@pytest.mark.parametrize(
    ("channels", "groups", "folded"), [(3, 1, True), (15, 1, True), (16, 1, False), (4, 2, False)]
)
def test_only_few_channels_in_one_group_are_folded(monkeypatch, channels, groups, folded):
    seen, grouped = [], rules._grouped
    monkeypatch.setattr(rules, "_grouped", lambda r, *a: seen.append(r) or grouped(r, *a))
    rule = ConvolutionRule(
        stride=(1, 1), padding=(1, 1), dilation=(1, 1), output_padding=(0, 0), groups=groups
    )
    x, delta = torch.ones(20, channels, 9, 9), torch.ones(20, 4, 9, 9)
    shape = torch.Size((4, channels // groups, 3, 3))
    ConvolutionPart(rule, x, delta, shape, 1).sum()
    assert all((r is not rule) == folded for r in seen)


@pytest.mark.parametrize(("shape", "pieces"), [((64, 3, 5, 5), 3), ((512, 512, 3, 3), 17)])
def test_pieces_are_even_and_of_bounded_size(shape, pieces, monkeypatch):
    seen = []
    for name in ("_folded", "_grouped"):
        monkeypatch.setattr(rules, name, lambda r, x, d, s: seen.append(len(x)) or x)
    rule = ConvolutionRule(stride=(1, 1), padding=(2, 2), dilation=(1, 1), output_padding=(0, 0))
    x = torch.zeros(130, shape[1], 1, 1)
    assert sum(map(len, ConvolutionPart(rule, x, x, torch.Size(shape), 1).chunks())) == 130
    assert len(seen) == pieces and max(seen) <= 64 and max(seen) - min(seen) < len(seen)
