"""Twin: robust means against NumPy: percentiles, clipping and masking, coordinate by coordinate."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from gengap.optim import RobustMean, trimmed_mean, winsorized_mean
from gengap.optim._order_statistics import sort_rows

KINDS = ("winsorized", "trimmed")
percents = st.one_of(st.sampled_from([0, 0.5, 1, 2, 2.5, 5, 25, 50]), st.floats(0, 50))


def by_numpy(values, percent, kind):
    """The rule on sorted rows; `values` float64 [b, ...]."""
    b, rows = len(values), np.sort(values.reshape(len(values), -1), axis=0)
    low = min(int(np.percentile(np.arange(b), percent, method="nearest")), (b - 1) // 2)
    high = b - 1 - low
    kept = rows[low : high + 1] if kind == "trimmed" else np.clip(rows, rows[low], rows[high])
    return kept.mean(0).reshape(values.shape[1:])


def by_released_code(values, percent):
    """Winsorized, as the released code does it; `values` float64 [b, r]."""
    low, high = np.percentile(values, [percent, 100 - percent], axis=0, method="nearest")
    return np.clip(values, low, high).mean(0)


def draw(*shape, seed=0, zeros=0.0, decimals=None):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=generator, dtype=torch.float64)
    values *= torch.rand(shape, generator=generator) >= zeros
    return values.round(decimals=decimals) if decimals is not None else values


def assert_close(found, expected):
    torch.testing.assert_close(found, torch.as_tensor(expected), rtol=1e-11, atol=1e-11)


@settings(max_examples=150, deadline=None)
@given(
    b=st.integers(1, 70),
    width=st.integers(1, 9),
    percent=percents,
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 99),
    ties=st.booleans(),
)
def test_means_of_rows(b, width, percent, kind, seed, ties):
    values = draw(b, width, seed=seed, decimals=0 if ties else None)
    found = RobustMean(kind=kind, percent=percent).of_rows(values)
    assert_close(found, by_numpy(values.numpy(), percent, kind))


@settings(max_examples=150, deadline=None)
@given(
    b=st.integers(1, 60),
    outputs=st.integers(1, 6),
    inputs=st.integers(1, 6),
    percent=percents,
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 99),
    zeros=st.tuples(*[st.sampled_from([0.0, 0.3, 0.8, 1.0])] * 2),
)
def test_means_of_outer_products(b, outputs, inputs, percent, kind, seed, zeros):
    left, right = (
        draw(b, outputs, seed=seed, zeros=zeros[0]),
        draw(b, inputs, seed=seed + 1, zeros=zeros[1]),
    )
    found = RobustMean(kind=kind, percent=percent).of_outer_products(left, right)
    products = left[:, :, None] * right[:, None, :]
    assert_close(found, by_numpy(products.numpy(), percent, kind))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("percent", [2, 30, 50])
def test_blocks_larger_than_the_cache(kind, percent):
    values = draw(20, 3, 25_000)
    mean = RobustMean(kind=kind, percent=percent)
    assert_close(mean.of_rows(values), by_numpy(values.numpy(), percent, kind))
    left, right = draw(20, 70, zeros=0.4), draw(20, 1500, seed=1, zeros=0.6)
    products = left[:, :, None] * right[:, None, :]
    assert_close(mean.of_outer_products(left, right), by_numpy(products.numpy(), percent, kind))


@pytest.mark.parametrize("percent", [1, 2, 4, 8])
@pytest.mark.parametrize("b", [100, 128, 250, 1000])
def test_the_released_code_where_no_percentile_lies_halfway(b, percent):
    values = draw(b, 7)
    assert_close(winsorized_mean(values, percent), by_released_code(values.numpy(), percent))


@settings(max_examples=150, deadline=None)
@given(b=st.integers(1, 70), percent=percents, kind=st.sampled_from(KINDS), seed=st.integers(0, 9))
def test_of_the_negative_it_is_the_negative(b, percent, kind, seed):
    """Neither side is favoured; b = 16 and c = 10 lies halfway between two."""
    mean, values = RobustMean(kind=kind, percent=percent), draw(b, 5, seed=seed)
    assert_close(mean.of_rows(-values), -mean.of_rows(values))


@pytest.mark.parametrize(("b", "percent"), [(16, 10), (26, 2), (6, 10), (64, 50)])
def test_symmetric_values_have_their_centre_for_a_mean(b, percent):
    half = torch.arange(1.0, b / 2 + 1, dtype=torch.float64)
    values = torch.cat([half, -half])[:, None] + 3
    for kind in KINDS:
        assert RobustMean(kind=kind, percent=percent).of_rows(values).item() == 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("percent", [1, 40])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sums_of_half_precision_neither_stall_nor_overflow(kind, percent, dtype):
    """A thousand ones summed up in bfloat16 are 256; values of 100 in float16 infinite."""
    mean, values = RobustMean(kind=kind, percent=percent), torch.full((1000, 3), 100, dtype=dtype)
    found = [mean.of_rows(values), mean.of_outer_products(values / 10, values / 10)]
    for value in found:
        assert value.dtype == dtype and (value == 100).all()


def test_two_of_a_hundred_are_clipped_on_either_side():
    values = torch.arange(100, dtype=torch.float64).flip(0)[:, None]
    assert RobustMean(percent=2).outside(100) == 2
    assert winsorized_mean(values, 2).item() == (sum(range(2, 98)) + 2 * 2 + 2 * 97) / 100
    assert trimmed_mean(values, 2).item() == 49.5
    assert RobustMean(percent=50).outside(100) == 49
    assert winsorized_mean(values, 50).item() == trimmed_mean(values, 50).item() == 49.5


def test_as_many_zeros_as_extremes():
    left, right = torch.tensor([[0.0], [-1.0], [0.0]]), torch.ones(3, 1)
    assert RobustMean(percent=50).outside(3) == 1
    assert RobustMean(percent=50).of_outer_products(left, right).item() == 0
    assert RobustMean(percent=50).of_outer_products(left[1:], right[1:]).item() == -0.5


def test_no_percent_is_the_mean():
    left, right = draw(9, 4), draw(9, 5, seed=1)
    for kind in KINDS:
        mean = RobustMean(kind=kind, percent=0)
        assert_close(mean.of_rows(left), left.mean(0))
        assert_close(mean.of_outer_products(left, right), left.T @ right / 9)


@pytest.mark.parametrize("percent", [2, 45])
def test_one_example_cannot_carry_the_mean_away_nor_spoil_its_digits(percent):
    values = draw(50, 30).float()
    calm = winsorized_mean(values, percent)
    values[7] = 1e30
    found = winsorized_mean(values, percent)
    expected = by_numpy(values.double().numpy(), percent, "winsorized")
    torch.testing.assert_close(found.double(), torch.as_tensor(expected), rtol=1e-5, atol=1e-6)
    assert (found - calm).abs().max() < 1


@pytest.mark.parametrize("percent", [2, 45])
def test_what_is_not_a_number_is_not_hidden(percent):
    values = draw(50, 30)
    values[3, 4] = torch.nan
    assert winsorized_mean(values, percent).isnan().nonzero().flatten().tolist() == [4]


def test_the_values_are_left_alone():
    values, copy = draw(30, 20), draw(30, 20)
    winsorized_mean(values, 40), winsorized_mean(values, 4)
    assert torch.equal(values, copy)


@pytest.mark.parametrize("percent", [4, 30])
@pytest.mark.parametrize("zeros", [0.0, 0.6])
def test_pytorch_and_numpy_give_the_same_bits(percent, zeros, monkeypatch):
    left, right = draw(40, 50, zeros=zeros).float(), draw(40, 900, seed=1).float()
    mean = RobustMean(percent=percent)
    found = mean.of_outer_products(left, right), mean.of_rows(right)
    monkeypatch.setattr("gengap.optim._order_statistics.in_numpy", lambda values: False)
    again = mean.of_outer_products(left, right), mean.of_rows(right)
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
    brief = mean.of_rows(right.bfloat16())
    assert brief.dtype == torch.bfloat16
    torch.testing.assert_close(brief.float(), found[1], rtol=0.05, atol=0.05)


class Largest(TorchDispatchMode):
    """Remembers the largest number of entries of any tensor made."""

    entries = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.entries = max(self.entries, out.numel())
        return out


def test_outer_products_are_never_all_there():
    left, right = draw(60, 200), draw(60, 300, seed=1)
    with Largest() as largest:
        RobustMean(percent=3).of_outer_products(left, right)
    assert 200 * 300 <= largest.entries <= 2 * 200 * 300  # of 60 * 200 * 300


@pytest.mark.parametrize("n", [1, 2, 4, 8, 64])
def test_the_network_sorts(n):
    rows = draw(n, 7, 3, decimals=1)
    expected = rows.sort(0).values
    sort_rows(rows)
    assert torch.equal(rows, expected)


def test_means_of_nothing():
    assert winsorized_mean(torch.zeros(5, 0, 3), percent=25).shape == (0, 3)
    mean = RobustMean(percent=25)
    for o, d in ((0, 3), (3, 0)):
        assert mean.of_outer_products(torch.ones(5, o), torch.ones(5, d)).shape == (o, d)
    with pytest.raises(ValueError, match="at least one example"):
        winsorized_mean(torch.zeros(0, 3), percent=25)


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match=r"`percent` must lie in \[0, 50\]; got 51"):
        RobustMean(percent=51)
    with pytest.raises(ValueError, match="`kind` must be one of"):
        RobustMean(kind="modest")
