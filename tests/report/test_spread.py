"""Twin: repetitions summed up. Oracle: loops over the rows, and values worked out by hand."""

import math
import statistics

import numpy as np
import pandas as pd
import pytest

from gengap.report import summarize


@pytest.fixture
def frame():
    draw = np.random.default_rng(0)
    rows = [
        {"name": name, "t": t, "seed": seed, "v": draw.normal()}
        for name in ("b", "a")
        for seed in range(4)
        for t in (3, 1, 2)
    ]
    rows[5]["v"] = math.nan
    return pd.DataFrame(rows)


@pytest.mark.parametrize("spread", ["range", "sd", None])
def test_equals_the_loop(frame, spread):
    found = summarize(frame, x="t", y="v", group="name", spread=spread)
    assert list(zip(found["name"], found["t"], strict=True)) == [
        (name, t) for name in ("b", "a") for t in (1, 2, 3)
    ]
    for row in found.to_dict("records"):
        values = [
            line["v"]
            for line in frame.to_dict("records")
            if line["name"] == row["name"] and line["t"] == row["t"] and line["v"] == line["v"]
        ]
        mean = statistics.fmean(values)
        assert row["v"] == pytest.approx(mean, rel=1e-12)
        assert row["count"] == len(values)
        if spread == "range":
            assert (row["v_low"], row["v_high"]) == (min(values), max(values))
        elif spread == "sd":
            deviation = statistics.stdev(values)
            assert row["v_low"] == pytest.approx(mean - deviation, rel=1e-9)
            assert row["v_high"] == pytest.approx(mean + deviation, rel=1e-9)
        else:
            assert set(row) == {"name", "t", "v", "count"}


def test_a_repetition_that_ends_early_keeps_its_last_value():
    frame = pd.DataFrame(
        [("a", 0, t, float(t)) for t in range(4)]
        + [("a", 1, t, 10.0 + t) for t in range(2)]
        + [("b", 0, 0, 5.0)],
        columns=["name", "seed", "t", "v"],
    )
    found = summarize(frame, x="t", y="v", group="name", unit="seed")
    assert found["name"].tolist() == ["a", "a", "a", "a", "b"]
    assert found["v"].tolist() == [5.0, 6.0, 6.5, 7.0, 5.0]
    assert found["v_high"].tolist() == [10.0, 11.0, 11.0, 11.0, 5.0]
    assert found["count"].tolist() == [2, 2, 2, 2, 1]
    without = summarize(frame, x="t", y="v", group="name")
    assert without["v"].tolist() == [5.0, 6.0, 2.0, 3.0, 5.0]


def test_one_repetition_has_no_deviation():
    frame = pd.DataFrame({"name": ["a"], "t": [1], "v": [2.0]})
    found = summarize(frame, x="t", y="v", group="name", spread="sd")
    assert found["v"].tolist() == [2.0]
    assert found[["v_low", "v_high"]].isna().all(axis=None)


def test_levels_that_are_names_keep_their_order():
    frame = pd.DataFrame({"name": ["g"] * 3, "level": ["z", "m", "a"], "v": [1.0, 2.0, 3.0]})
    assert summarize(frame, x="level", y="v", group="name")["level"].tolist() == ["z", "m", "a"]


def test_leaves_its_argument_alone(frame):
    before = frame.copy()
    summarize(frame, x="t", y="v", group="name", unit="seed")
    pd.testing.assert_frame_equal(frame, before)


def test_names_the_missing_column(frame):
    with pytest.raises(ValueError, match=r"`frame` must have a column 'loss'; got \['name', 't'"):
        summarize(frame, x="t", y="loss", group="name")
    with pytest.raises(ValueError, match=r"`spread` must be one of 'range', 'sd'; got 'iqr'"):
        summarize(frame, x="t", y="v", group="name", spread="iqr")
