"""Twin: charts of paths, surfaces, spectra and invariances. Oracles: their frames, a cone."""

import math
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from gengap.report import Axis, invariances, paths, spectrum, surface
from gengap.report._isolines import isolines


def path_frame(seeds=(0, 1)):
    rows = [
        {
            "alpha": a,
            "half": half,
            "seed": seed,
            "loss": 1 + a * a + seed,
            "accuracy": 0.5 + 0.1 * a,
        }
        for seed in seeds
        for half in ("train", "test")
        for a in (-1.0, 0.0, 1.0, 2.0)
    ]
    return pd.DataFrame(rows)


def grid_frame(size=9):
    steps = np.linspace(-1, 1, size)
    rows = [{"x": x, "y": y, "loss": math.hypot(x, y) + 0.01} for y in steps for x in steps]
    return pd.DataFrame(rows)


def spectrum_frame():
    grid = np.linspace(0, 10, 50)
    density = np.exp(-((grid - 5) ** 2))
    return pd.DataFrame({
        "grid": grid,
        "density": density,
        "lower": 0.5 * density,
        "upper": 2 * density,
        "network": "a",
    })


def factor_frame():
    factors = {"trace": [1e4, 0.01], "evidence": [1.0, 1 + 1e-9], "odd": [math.nan, -3.0]}
    return pd.DataFrame([
        {"measure": measure, "transformation": f"t{turn}", "factor": value}
        for measure, values in factors.items()
        for turn, value in enumerate(values)
    ])


CHARTS = {
    "paths": lambda **more: paths(path_frame(), name="c", **more),
    "surface": lambda **more: surface(grid_frame(), name="c", points={"<end>": (0, 0)}, **more),
    "spectrum": lambda **more: spectrum(spectrum_frame(), name="c", group="network", **more),
    "invariances": lambda **more: invariances(factor_frame(), name="c", **more),
}


@pytest.mark.parametrize("kind", CHARTS)
def test_each_is_drawn_linked_and_saved(kind, tmp_path):
    chart = CHARTS[kind](title="A <title>")
    assert {"name": "chosen", "value": None} in chart.vega()["signals"]
    svg, png, csv = chart.save(tmp_path)
    ET.fromstring(svg.read_text(encoding="utf-8"))
    assert png.stat().st_size > 1000
    back = pd.read_csv(csv, dtype=str)
    assert len(back) == len(chart.data)
    for column in chart.data.select_dtypes("number"):
        np.testing.assert_array_equal(back[column].astype(float), chart.data[column])


def test_paths_average_repetitions_and_have_two_axes():
    chart = paths(path_frame(), name="c", ends=("small", "large"))
    row = chart.data[(chart.data["half"] == "test") & (chart.data["alpha"] == 2)].iloc[0]
    assert (row["loss"], row["loss_low"], row["loss_high"]) == (5.5, 5.0, 6.0)
    assert row["accuracy"] == 0.7
    assert list(chart.styles) == ["train", "test"]
    for words in (">Loss<", ">Accuracy<", ">small<", ">large<", "stroke-dasharray"):
        assert words in chart.svg
    bare = path_frame().assign(accuracy=math.nan)
    assert ">Accuracy<" not in paths(bare, name="c").svg


def test_a_surface_has_a_cell_a_point_and_leaves_holes_where_nothing_is_known():
    frame = grid_frame()
    frame.loc[0, "loss"] = math.inf
    spec = surface(frame, name="c").spec()
    cells = spec["layer"][0]["data"]["values"]
    assert len(cells) == 80
    assert sum((c["x2"] - c["x1"]) * (c["y2"] - c["y1"]) for c in cells) == pytest.approx(
        80 / 81 * 2.25**2
    )
    assert spec["layer"][0]["encoding"]["color"]["scale"]["type"] == "log"
    share = Axis("loss", percent=True)
    assert surface(frame, value=share, name="c").spec()["layer"][0]["encoding"]["color"]["scale"][
        "type"
    ] == ("linear")


def test_isolines_of_a_cone_are_circles():
    frame = grid_frame(41)
    steps = sorted(frame["x"].unique())
    values = {
        (steps.index(x), steps.index(y)): math.hypot(x, y)
        for x, y in zip(frame["x"], frame["y"], strict=True)
    }
    pieces = isolines(steps, steps, values, [0.3, 0.8])
    for level, *ends in pieces:
        for x, y in ends:
            assert math.hypot(x, y) == pytest.approx(level, abs=2e-3)
    for level in (0.3, 0.8):
        length = sum(math.dist(a, b) for at, a, b in pieces if at == level)
        assert length == pytest.approx(2 * math.pi * level, rel=5e-3)


def test_isolines_of_a_saddle_and_of_half_a_square():
    saddle = {(0, 0): 1.0, (1, 0): 0.0, (1, 1): 1.0, (0, 1): 0.0}
    both = isolines([0, 1], [0, 1], saddle, [0.4])
    assert len(both) == 2
    cut = {(0.6, 0.0): (1.0, 0.4), (0.4, 1.0): (0.0, 0.6)}  # around the low corners
    for _, a, b in both:
        (start, end) = sorted([a, b], key=lambda place: place[1])
        assert any(
            start == pytest.approx(min((k, v), key=lambda p: p[1]))
            and end == pytest.approx(max((k, v), key=lambda p: p[1]))
            for k, v in cut.items()
        )
    half = {(0, 0): 0.0, (1, 0): 1.0, (0, 1): 1.0}
    assert isolines([0, 1], [0, 1], half, [0.5]) == [(0.5, (0.5, 0.0), (0.0, 0.5))]


def test_a_spectrum_stops_seven_decades_below_its_top():
    rows = spectrum(spectrum_frame(), name="c").spec()["data"]["values"]
    assert len(rows) == 50
    top = spectrum_frame()["density"].max()
    assert min(row["y"] for row in rows) == pytest.approx(top * 1e-7)
    linear = spectrum(spectrum_frame(), name="c", log=False).spec()
    assert min(row["y"] for row in linear["data"]["values"]) < top * 1e-9


def test_invariances_say_one_where_nothing_changes():
    rows = invariances(factor_frame(), name="c").spec()["data"]["values"]
    said = {(row["row"], row["column"]): row["said"] for row in rows}
    assert said == {
        ("trace", "t0"): "× 1e4",
        ("trace", "t1"): "× 0.01",
        ("evidence", "t0"): "1",
        ("evidence", "t1"): "1",
        ("odd", "t0"): "–",
        ("odd", "t1"): "× -3",
    }
    decades = {(row["row"], row["column"]): row["decades"] for row in rows}
    assert decades["trace", "t0"] == 4 and decades["trace", "t1"] == pytest.approx(-2)


def test_two_halves_on_one_surface_are_refused():
    frame = pd.concat([grid_frame(), grid_frame()])
    with pytest.raises(ValueError, match="`frame` must have one row a point; got two"):
        surface(frame, name="c")
