"""Bound: sums over the rows of float32 matrices, against the same sums in float64."""

import pytest
import torch
from hypothesis import given, settings, strategies as st

from gengap.gradients._part import row_dots, squared_row_norms, sums_of_rows

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
