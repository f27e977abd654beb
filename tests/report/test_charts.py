"""Twin: charts. Oracle: the frames they were made from, and the marks in the finished SVG."""

import io
import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gengap._errors import StoreError
from gengap.report import PALETTE, Axis, Chart, bars, curves, dots, scatter, styles

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def frame():
    draw = np.random.default_rng(0)
    rows = [
        {"set": name, "seed": seed, "t": t, "acc": draw.uniform(), "level": level}
        for name, level in (("true", 0.0), ("<b>half</b>", 0.5), ("</script>", 1.0))
        for seed in range(3)
        for t in range(5)
    ]
    return pd.DataFrame(rows)


def make(kind, frame, **more):
    common = {"name": kind, "title": "A <title>"} | more
    if kind == "curves":
        return curves(frame, x="t", y=Axis("acc", percent=True), group="set", **common)
    if kind == "dots":
        return dots(frame, x="level", y="acc", group="set", connect="all", **common)
    if kind == "bars":
        return bars(frame, category="set", value="acc", **common)
    if kind == "grouped":
        return bars(frame, category="seed", value="acc", group="set", **common)
    return scatter(frame, x="t", y="acc", group="set", details=["seed"], **common)


KINDS = ("curves", "dots", "bars", "grouped", "scatter")


def drawn(chart, role):
    """The marks of one role in the SVG: paths inside groups of that class."""
    root = ET.fromstring(chart.svg)
    groups = [g for g in root.iter(f"{SVG}g") if role in g.get("class", "").split()]
    return [path for group in groups for path in group.iter(f"{SVG}path")]


@pytest.mark.parametrize("kind", KINDS)
def test_csv_is_the_data(kind, frame):
    chart = make(kind, frame)
    back = pd.read_csv(io.StringIO(chart.csv), dtype=str)
    assert len(back) == len(chart.data)
    for column in chart.data.select_dtypes("number"):
        np.testing.assert_array_equal(back[column].astype(float), chart.data[column])


def test_curves_band_is_lowest_and_highest(frame):
    data = make("curves", frame).data
    for row in data.to_dict("records"):
        part = frame[(frame["set"] == row["set"]) & (frame["t"] == row["t"])]["acc"]
        assert row["acc"] == pytest.approx(part.sum() / 3, rel=1e-12)
        assert (row["acc_low"], row["acc_high"]) == (part.min(), part.max())


def test_bars_are_means_of_their_category(frame):
    data = make("bars", frame).data.set_index("set")
    for name, part in frame.groupby("set"):
        assert data.loc[name, "acc"] == pytest.approx(part["acc"].mean(), rel=1e-12)


@pytest.mark.parametrize(
    ("kind", "role", "count"),
    [
        ("curves", "mark-line", 3),
        ("curves", "mark-area", 3),
        ("dots", "mark-symbol", 3),
        ("dots", "mark-line", 1),
        ("bars", "mark-rect", 3),
        ("grouped", "mark-rect", 9),
        ("scatter", "mark-symbol", 45),
    ],
)
def test_draws_its_marks(kind, role, count, frame):
    paths = drawn(make(kind, frame), role)
    legend = 3 if role == "mark-symbol" else 0
    assert len([path for path in paths if path.get("d")]) in {count, count + legend}


@pytest.mark.parametrize("kind", KINDS)
def test_every_chart_has_the_choice(kind, frame):
    chart = make(kind, frame)
    assert {"name": "chosen", "value": None} in chart.spec()["params"]
    assert {"name": "chosen", "value": None} in chart.vega()["signals"]


def test_the_choice_fades_the_others(frame):
    chart = make("curves", frame)
    spec = chart.spec()
    spec["params"] = [{"name": "chosen", "value": "true"}]
    chosen = Chart(name="c", chart=spec, data=chart.data)
    before = [path.get("opacity") for path in drawn(chart, "mark-line")]
    after = [path.get("opacity") for path in drawn(chosen, "mark-line")]
    assert before == [before[0]] * 3
    assert len(set(after[1:])) == 1 and float(after[1]) < float(after[0] or 1)


@pytest.mark.parametrize("kind", KINDS)
def test_saves_three_files(kind, frame, tmp_path):
    chart = make(kind, frame)
    svg, png, csv = chart.save(tmp_path / "charts")
    ET.fromstring(svg.read_text(encoding="utf-8"))
    width = float(re.search(r'width="([\d.]+)"', svg.read_text(encoding="utf-8")).group(1))
    with Image.open(png) as image:
        assert abs(image.width - 2 * width) <= 2
        assert len(image.convert("RGB").getcolors(1 << 20)) > 10
    assert csv.read_text(encoding="utf-8") == chart.csv
    assert sorted(path.name for path in (tmp_path / "charts").iterdir()) == [
        f"{kind}.{end}" for end in ("csv", "png", "svg")
    ]


def test_a_log_axis_leaves_out_zero_and_the_data_keep_it(frame):
    chart = curves(frame, x=Axis("t", log=True), y="acc", group="set", name="c")
    values = chart.spec()["data"]["values"]
    assert {row["x"] for row in values} == {1, 2, 3, 4}
    assert set(chart.data["t"]) == {0, 1, 2, 3, 4}


def test_missing_and_infinite_values_are_not_drawn(frame):
    frame.loc[frame["t"] == 2, "acc"] = math.nan
    frame.loc[frame["t"] == 3, "acc"] = math.inf
    chart = make("curves", frame)
    values = chart.spec()["data"]["values"]
    assert {row["x"] for row in values} == {0, 1, 4}
    assert drawn(chart, "mark-line")


def test_long_curves_are_thinned_in_the_drawing_only():
    frame = pd.DataFrame({"g": "a", "t": range(10_000), "v": np.arange(10_000.0)})
    chart = curves(frame, x="t", y="v", group="g", name="c")
    values = chart.spec()["data"]["values"]
    assert len(values) == 300
    assert (values[0]["x"], values[-1]["x"]) == (0, 9999)
    assert len(chart.data) == 10_000


def test_many_groups_go_beyond_altairs_limit_of_rows():
    names = [f"g{place}" for place in range(25)]
    frame = pd.DataFrame([(g, t, 0.5) for g in names for t in range(250)], columns=["g", "t", "v"])
    chart = curves(frame, x="t", y="v", group="g", name="c")
    assert len(chart.spec()["data"]["values"]) == 25 * 250


def test_what_is_under_the_pointer(frame):
    rows = make("curves", frame).spec()["data"]["values"]
    part = frame[(frame["set"] == "true") & (frame["t"] == 0)]["acc"]
    assert rows[0]["around"] == f"{100 * part.min():.2f}% to {100 * part.max():.2f}%"
    alone = curves(frame[frame["seed"] == 0], x="t", y="acc", group="set", name="c", band="sd")
    assert {row["around"] for row in alone.spec()["data"]["values"]} == {"–"}
    assert len(drawn(alone, "mark-line")) >= 3


def test_rules_are_named(frame):
    assert ">chance &lt;10%" in make("curves", frame, rules={"chance <10%": 0.1}).svg


def test_groups_fix_order_and_color(frame):
    names = ["</script>", "unused", "true", "<b>half</b>"]
    chart = make("curves", frame, groups=names)
    assert list(chart.styles) == ["</script>", "true", "<b>half</b>"]
    assert [style.color for style in chart.styles.values()] == [PALETTE[0], PALETTE[2], PALETTE[3]]
    given = make("dots", frame, groups=dict.fromkeys(names, "#123456"))
    assert {style.color for style in given.styles.values()} == {"#123456"}
    with pytest.raises(ValueError, match=r"`groups` must name every group of `frame`; got none"):
        make("curves", frame, groups=["true"])


def test_styles_differ():
    found = styles(f"g{place}" for place in range(50))
    assert len({(style.color, style.dash) for style in found.values()}) == 50


def test_takes_a_chart_of_ones_own(tmp_path):
    spec = {
        "data": {"values": [{"group": "a", "v": 1}]},
        "mark": "bar",
        "encoding": {"x": {"field": "v", "type": "quantitative"}},
    }
    chart = Chart(name="own", chart=spec, data=pd.DataFrame({"v": [1]}))
    assert {"name": "chosen", "value": None} in chart.vega()["signals"]
    assert "params" not in spec


def test_an_unwritable_folder_is_one_sentence(frame, tmp_path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(StoreError, match=r"must be a file that can be written; got: .*\.$"):
        make("bars", frame).save(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def named(names):
    frame = pd.DataFrame([(g, t, 0.5) for g in names for t in range(2)], columns=["g", "t", "v"])
    return curves(frame, x="t", y="v", group="g", name="c")


def width_of(chart):
    return float(re.search(r'width="([\d.]+)"', chart.svg).group(1))


@pytest.mark.parametrize("names", [
    ["SGD", "rolling mean", "RM3", "mean of three", "M3"],
    ["train, 0 % noise", "pristine, 50 % noise", "corrupt, 50 % noise", "train, 100 % noise"],
])  # fmt: skip
def test_a_legend_that_fits_is_one_row(names):
    chart = named(names)
    assert chart.spec()["config"]["legend"]["columns"] == len(names)
    assert width_of(chart) <= width_of(named(["a", "b"])) + 1


def test_a_legend_of_long_names_makes_the_picture_no_wider():
    long = [f"{place} a name of a group that is long" for place in range(5)]
    assert width_of(named(long)) <= width_of(named(["a", "b"])) + 1
    assert named(long).spec()["config"]["legend"]["columns"] < 4


def test_columns_of_ones_own_stay():
    chart = named(["a", "b", "c"])
    own = chart.chart.configure_legend(columns=2)
    kept = Chart(name="c", chart=own, data=chart.data, styles=chart.styles)
    assert kept.spec()["config"]["legend"]["columns"] == 2


def test_there_is_room_for_a_name_beside_a_level():
    frame = pd.DataFrame([("a", t, 0.5) for t in range(2)], columns=["g", "t", "v"])
    plain = curves(frame, x="t", y="v", group="g", name="c")
    ruled = curves(frame, x="t", y="v", group="g", name="c", rules={"proper accuracy": 0.5})
    assert width_of(ruled) > width_of(plain) + 40
