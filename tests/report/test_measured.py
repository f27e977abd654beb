"""Closed form: means with spread and how numbers are written. Oracle: NumPy, and text by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from gengap.report import Measured
from gengap.report._measured import write_value


def test_mean_and_spread_are_numpys():
    values = np.random.default_rng(0).normal(size=7)
    found = Measured.of([*values, math.nan])
    assert found.count == 7
    assert found.mean == pytest.approx(np.mean(values), rel=1e-12)
    assert found.spread == pytest.approx(np.std(values, ddof=1), rel=1e-12)


@pytest.mark.parametrize(
    ("values", "code", "text"),
    [
        ([0.9734, 0.9734], ".1%", "97.3 ± 0.0%"),
        ([1.0, 2.0, 3.0], ".1f", "2.0 ± 1.0"),
        ([1.0, 2.0, 3.0], "", "2 ± 1"),
        ([1.0, 2.0, 3.0], "+.1f", "+2.0 ± 1.0"),
        ([0.01, 0.02, 0.03], "+.0%", "+2 ± 1%"),
        ([0.5], ".1%", "50.0%"),
        ([], ".1%", "–"),
        ([math.nan], "", "–"),
        ([math.inf, 1.0], ".1f", "inf"),
    ],
)
def test_formats_like_a_number(values, code, text):
    assert format(Measured.of(values), code) == text


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (None, None, "–"),
        (math.nan, ".1%", "–"),
        (pd.NA, None, "–"),
        (1234567, None, "1,234,567"),
        (np.int64(1234), None, "1,234"),
        (12.0, "d", "12"),
        (0.123456, None, "0.1235"),
        (np.float32(0.25), ".1%", "25.0%"),
        (True, None, "yes"),
        (np.False_, None, "no"),
        ("<b>", ".1%", "<b>"),
        (2.0, lambda value: f"{value:.0f} ×", "2 ×"),
        (Measured.of([1.0, 3.0]), ".0f", "2 ± 1"),
    ],
)
def test_writes_a_cell(value, form, text):
    assert write_value(value, form) == text
