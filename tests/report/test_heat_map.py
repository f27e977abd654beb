"""Twin: a frame averaged by pandas; property: every cell is drawn, ordered and legible."""

import io
import math
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from gengap.report import Axis, heat_map


def frame():
    return pd.DataFrame([
        {"noise": noise, "batch": batch, "seed": seed, "error": noise + batch / 1000 + seed / 100,
         "connectivity": noise - 0.3}
        for batch in (128, 8, 32) for noise in (0.4, 0.0) for seed in (0, 1)
    ])  # fmt: skip


def drawn(chart):
    """Return the rows of the cells, and the scales of x, y and color."""
    spec = chart.spec()
    cells = spec["layer"][0]
    channels = cells["encoding"]
    return spec.get("data", cells.get("data"))["values"], {
        name: channels[name]["scale"] for name in ("x", "y", "color")
    }


def test_cells_are_means_over_repetitions_in_ascending_order():
    chart = heat_map(
        frame(), x=Axis("noise", percent=True), y="batch", value="error", name="errors"
    )
    rows, scales = drawn(chart)
    assert scales["x"]["domain"] == ["0 %", "40 %"]
    assert scales["y"]["domain"] == ["128", "32", "8"]
    means = frame().groupby(["batch", "noise"])["error"].mean()
    found = {(float(r["y"]), float(r["x"][:-2]) / 100): r["v"] for r in rows}
    assert found == pytest.approx(means.to_dict())
    assert {row["count"] for row in rows} == {2}
    assert scales["color"]["domain"] == pytest.approx([means.min(), means.max()])
    table = pd.read_csv(io.StringIO(chart.csv))
    assert list(table) == ["batch", "noise", "error", "error_low", "error_high", "count"]
    assert len(table) == 6


def test_a_center_is_in_the_middle_of_the_colors():
    rows, scales = drawn(heat_map(frame(), x="noise", y="batch", value="connectivity",
                                  center=0.0, name="c"))  # fmt: skip
    assert scales["color"]["domain"] == pytest.approx([-0.3, 0.3])
    told = {row["text"]: row["dark"] for row in rows}
    assert told == {"−0.3": True, "0.1": False}


@pytest.mark.parametrize("bright", ["low", "high"])
def test_numbers_are_white_on_dark_cells_only(bright):
    rows, scales = drawn(heat_map(frame(), x="noise", y="batch", value=Axis("error", log=True),
                                  name="c", bright=bright))  # fmt: skip
    assert scales["color"]["reverse"] == (bright == "low")
    smallest, largest = (pick(rows, key=lambda row: row["v"]) for pick in (min, max))
    assert (smallest["dark"], largest["dark"]) == (bright == "high", bright == "low")


def test_what_is_missing_stays_white_and_keeps_its_place():
    holes = frame()
    holes.loc[holes["batch"] == 32, "error"] = math.inf
    holes.loc[(holes["batch"] == 8) & (holes["seed"] == 1), "error"] = math.nan
    rows, scales = drawn(heat_map(holes, x="noise", y="batch", value="error", name="c"))
    assert {row["y"] for row in rows} == {"8", "128"}
    assert scales["y"]["domain"] == ["128", "32", "8"]
    assert {row["count"] for row in rows if row["y"] == "8"} == {1}
    empty = holes.assign(error=math.nan)
    assert drawn(heat_map(empty, x="noise", y="batch", value="error", name="c"))[0] == []


def test_text_keeps_the_order_of_the_frame():
    named = frame().assign(kind=lambda f: np.where(f["noise"] > 0, "wide", "narrow"))
    _, scales = drawn(heat_map(named, x="kind", y="batch", value="error", name="c"))
    assert scales["x"]["domain"] == ["wide", "narrow"]


def test_it_is_saved_as_the_others(tmp_path):
    chart = heat_map(frame(), x="noise", y="batch", value=Axis("error", percent=True), name="heat",
                     title="Errors")  # fmt: skip
    files = chart.save(tmp_path)
    assert [path.name for path in files] == ["heat.svg", "heat.png", "heat.csv"]
    svg = ET.fromstring(chart.svg)
    text = "".join(svg.itertext())
    assert "Errors" in text
    assert all(row["text"] in text for row in drawn(chart)[0])
    assert chart.vega()["signals"]
    with pytest.raises(ValueError, match="`frame` must have a column 'loss'"):
        heat_map(frame(), x="noise", y="batch", value="loss", name="c")
