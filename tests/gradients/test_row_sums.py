"""Bound: sums over the rows of float32 matrices, against the same sums in float64."""

import pytest
import torch
from hypothesis import given, settings, strategies as st

from gengap.gradients._convolution_rule import ConvolutionPart, ConvolutionRule
from gengap.gradients._embedding_rule import EmbeddingPart
from gengap.gradients._part import DensePart, OuterPart, SequencePart
from gengap.gradients._row_sums import row_dots, row_gram, squared_row_norms, sums_of_rows

LENGTHS = st.one_of(st.integers(1, 40), st.sampled_from([512, 2352, 4095, 4096, 4097, 9216, 20011]))


def rows(length, kind, seed=0):
    """Return three rows that round well, badly (all alike), or at very different sizes."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(3, length, generator=generator)
    return {"normal": normal, "alike": torch.full_like(normal, 0.1), "wide": normal.exp() ** 3}[
        kind
    ]


@settings(max_examples=60, deadline=None)
@given(length=LENGTHS, kind=st.sampled_from(["normal", "alike", "wide"]), seed=st.integers(0, 99))
def test_squared_norms_lose_less_than_one_part_in_a_hundred_thousand(length, kind, seed):
    x = rows(length, kind, seed)
    wanted = x.double().square().sum(1)
    found = squared_row_norms(x)
    assert found.dtype == torch.float64
    assert ((found - wanted).abs() <= 1e-5 * wanted).all()
    assert torch.equal(squared_row_norms(x.double()), wanted)


@settings(max_examples=60, deadline=None)
@given(length=LENGTHS, kind=st.sampled_from(["normal", "alike", "wide"]), seed=st.integers(0, 99))
def test_sums_and_products_lose_less_than_a_millionth_of_what_is_added(length, kind, seed):
    x, y = rows(length, kind, seed), rows(length, "normal", seed + 1)
    for found, terms in ((sums_of_rows(x), x.double()), (row_dots(x, y), x.double() * y.double())):
        assert found.dtype == torch.float64
        assert ((found - terms.sum(1)).abs() <= 1e-6 * terms.abs().sum(1)).all()


def test_sums_of_transposed_products_are_the_same():
    x, y = rows(700, "normal"), rows(700, "wide")
    assert row_dots(x.T.contiguous().T, y) == pytest.approx(row_dots(x, y), rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    length=LENGTHS,
    powers=st.lists(st.integers(-30, 30), min_size=3, max_size=3),
    kind=st.sampled_from(["normal", "alike"]),
)
def test_they_are_right_at_any_scale_that_float32_has(length, powers, kind):
    x = rows(length, kind) * torch.tensor(powers)[:, None].float().mul(2.302585).exp()
    wide = x.double()
    norms = wide.square().sum(1)
    assert ((DensePart(x).squared_norms() - norms).abs() <= 1e-5 * norms).all()
    off = (row_gram(x) - wide @ wide.T).abs()
    assert (off <= 1e-4 * (wide.abs() @ wide.abs().T)).all()


def parts(scale):
    """Gradients of four examples in every factored form, whose squares float32 does not hold."""
    draw = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(4, *shape, generator=draw)

    ones = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
    rule = ConvolutionRule(**ones, output_padding=(0, 0))
    return {
        "dense": DensePart(normal(3, 5) * scale),
        "outer": OuterPart(normal(5), normal(3) * scale),
        "short sequence": SequencePart(normal(2, 40), normal(2, 30) * scale),
        "long sequence": SequencePart(normal(30, 5), normal(30, 3) * scale),
        "few tokens": EmbeddingPart(torch.arange(8).view(4, 2) % 3, normal(2, 6) * scale, (3, 6)),
        "many tokens": EmbeddingPart(
            torch.arange(160).view(4, 40) % 3, normal(40, 6) * scale, (3, 6)
        ),
        "convolution": ConvolutionPart(
            rule, normal(2, 6, 6), normal(3, 6, 6) * scale, torch.Size((3, 2, 3, 3)), 1
        ),
    }


@pytest.mark.parametrize("scale", [1e-28, 1e-21, 1e20, 1e26])
@pytest.mark.parametrize("kind", list(parts(1.0)))
def test_parts_are_right_at_any_scale_that_float32_has(kind, scale):
    part = parts(scale)[kind]
    rows = part.dense().double().flatten(1)
    norms = rows.square().sum(1)
    assert norms.min() > 0
    assert ((part.squared_norms() - norms).abs() <= 1e-4 * norms).all()
    direction = part.dense().sum(0)
    for chosen in (slice(None), torch.tensor([False, True, True, False])):
        wanted = rows[chosen] @ direction.double().flatten()
        allowed = 1e-4 * norms[chosen].sqrt() * direction.double().norm()
        assert ((part.wide(chosen).dots(direction) - wanted).abs() <= allowed).all()


def test_zero_and_infinite_rows_stay_what_they_are():
    x = torch.tensor([[0.0, 0.0], [1.0, float("inf")], [3.0, 4.0]])
    assert DensePart(x).squared_norms().tolist() == [0.0, float("inf"), 25.0]
    assert row_gram(torch.zeros(2, 0)).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert row_gram(x[::2]).tolist() == [[0.0, 0.0], [0.0, 25.0]]
