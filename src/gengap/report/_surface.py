"""Surfaces: a value over a grid of a plane, with lines of equal value and named points."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from . import _marks as marks
from ._axis import Axis, as_axis
from ._chart import Chart
from ._isolines import isolines
from ._look import INK
from ._spread import check_columns

SIDE, SHORTEST, LEVELS, WIDE_RANGE = 420, 210, 12, 30.0


def surface(
    frame: pd.DataFrame,
    *,
    name: str,
    value: str | Axis = "loss",
    x: str | Axis = "x",
    y: str | Axis = "y",
    points: Mapping[str, tuple[float, float]] | None = None,
    title: str = "",
    caption: str = "",
    equal: bool = False,
) -> Chart:
    """Draw a value at the points of a grid as colored cells, with lines of equal value.

    Cells have the value at their middle; the lines take it to be linear in between.

    Args:
        frame: One row a point of the grid: x, y and the value. Values that are not finite are
            left white.
        name: Name of the chart's files.
        value: Column or axis of the values. Losses that reach over more than a factor of 30 are
            colored by their logarithm.
        x: Column or axis across.
        y: Column or axis up.
        points: Named points and their coordinates.
        title: Heading.
        caption: Text beneath.
        equal: Whether both axes have the same scale, as distances want, as long as the longer
            side is at most twice as long.

    Raises:
        ValueError: The frame has two rows for a point, such as both halves.
    """
    value, x, y = as_axis(value), as_axis(x), as_axis(y)
    check_columns(frame, value.column, x.column, y.column)
    data = frame[list(frame.columns)].reset_index(drop=True)
    if bool(data.duplicated([x.column, y.column]).any()):
        raise ValueError("`frame` must have one row a point; got two, so choose a half first.")
    xs, ys = (np.unique(data[axis.column].to_numpy(float)) for axis in (x, y))
    height = data[value.column].to_numpy(float)
    known = height[np.isfinite(height)]
    log = len(known) > 0 and known.min() > 0 and known.max() > WIDE_RANGE * known.min()
    log = (log or value.log) and not value.percent
    layers = [
        _cells(data, (x, y, value), xs, ys, log=log),
        *_lines(data, (x, y, value), xs, ys, log=log),
        *_points(points or {}, (x, y)),
    ]
    ratio = (ys[-1] - ys[0]) / (xs[-1] - xs[0]) if equal and len(xs) > 1 else 1.0
    width, tall = (_whole(SIDE * side, len(v)) for side, v in ((1 / ratio, xs), (ratio, ys)))
    chart = marks.layered(layers, height=tall, width=width)
    return Chart(name=name, chart=chart, data=data, title=title, caption=caption)


def _cells(
    data: pd.DataFrame, axes: tuple[Axis, Axis, Axis], xs: np.ndarray, ys: np.ndarray, *, log: bool
) -> Any:
    import altair as alt

    x, y, value = axes
    edges = {"x": _edges(xs), "y": _edges(ys)}
    rows = []
    for a, b, v in zip(data[x.column], data[y.column], data[value.column], strict=True):
        if not math.isfinite(v) or (log and v <= 0):
            continue
        i, j = int(np.searchsorted(xs, a)), int(np.searchsorted(ys, b))
        row = {"x": float(a), "y": float(b), "v": float(v)}
        row |= {"x1": edges["x"][i], "x2": edges["x"][i + 1]}
        rows.append(row | {"y1": edges["y"][j], "y2": edges["y"][j + 1]})
    channels = {}
    for letter, axis in (("x", x), ("y", y)):
        channels[letter] = axis.channel(letter, field_name=f"{letter}1")
        ends = edges[letter]
        channels[letter]["scale"] = alt.Scale(domain=[ends[0], ends[-1]], nice=False, zero=False)
        channels[letter]["axis"]["grid"] = False
    legend = alt.Legend(
        title=value.text,
        orient="right",
        direction="vertical",
        gradientLength=SIDE - 120,
        gradientThickness=14,
        format=value.number_format if value.percent else "~g",
        columns=1,
    )
    scale = alt.Scale(
        type="log" if log else "linear", scheme="viridis", reverse=not value.percent, zero=False
    )
    tips = [
        alt.Tooltip("x:Q", title=x.text, format=x.value_format),
        alt.Tooltip("y:Q", title=y.text, format=y.value_format),
        alt.Tooltip("v:Q", title=value.text, format=value.value_format),
    ]
    return (
        alt
        .Chart(alt.Data(values=rows))
        .mark_rect(stroke=None)
        .encode(
            channels["x"],
            channels["y"],
            alt.X2("x2"),
            alt.Y2("y2"),
            color=alt.Color("v:Q", scale=scale, legend=legend),
            tooltip=tips,
        )
    )


def _lines(
    data: pd.DataFrame, axes: tuple[Axis, Axis, Axis], xs: np.ndarray, ys: np.ndarray, *, log: bool
) -> list[Any]:
    import altair as alt

    x, y, value = axes
    columns = (np.searchsorted(xs, data[x.column]), np.searchsorted(ys, data[y.column]))
    heights = data[value.column].to_numpy(float)
    if log:
        heights = np.log(np.where(heights > 0, heights, np.nan))
    kept = heights[np.isfinite(heights)]
    if len(kept) == 0 or kept.max() <= kept.min():
        return []
    levels = np.linspace(kept.min(), kept.max(), LEVELS + 1)[1:-1]
    places = {(int(i), int(j)): float(h) for i, j, h in zip(*columns, heights, strict=True)}
    pieces = isolines(list(map(float, xs)), list(map(float, ys)), places, list(map(float, levels)))
    rows = [{"x1": a[0], "y1": a[1], "x2": b[0], "y2": b[1]} for _, a, b in pieces]
    line = alt.Chart(alt.Data(values=rows)).mark_rule(
        color="#ffffff", strokeWidth=1.1, opacity=0.75, strokeCap="round", tooltip=None
    )
    return [line.encode(alt.X("x1:Q"), alt.Y("y1:Q"), alt.X2("x2"), alt.Y2("y2"))]


def _points(points: Mapping[str, tuple[float, float]], axes: tuple[Axis, Axis]) -> list[Any]:
    import altair as alt

    if not points:
        return []
    rows = [{"x1": a, "y1": b, "label": label} for label, (a, b) in points.items()]
    base = alt.Chart(alt.Data(values=rows)).encode(alt.X("x1:Q"), alt.Y("y1:Q"))
    text: dict[str, Any] = {"dy": -12, "fontSize": 13, "fontWeight": 600, "baseline": "bottom"}
    return [
        base.mark_point(
            filled=True, size=90, color=INK, stroke="#ffffff", strokeWidth=1.8, opacity=1
        ),
        base.mark_text(**text, stroke="#ffffff", strokeWidth=3.5).encode(text="label:N"),
        base.mark_text(**text, color=INK).encode(text="label:N"),
    ]


def _whole(side: float, cells: int) -> int:
    """Return a length near `side` within bounds, a whole number of pixels for every cell."""
    return cells * max(1, round(min(max(side, SHORTEST), SIDE) / cells))


def _edges(values: np.ndarray) -> list[float]:
    """Return the bounds of cells around ascending values."""
    if len(values) == 1:
        return [float(values[0]) - 0.5, float(values[0]) + 0.5]
    middle = (values[1:] + values[:-1]) / 2
    first, last = values[0] - (middle[0] - values[0]), values[-1] + (values[-1] - middle[-1])
    return [float(first), *map(float, middle), float(last)]
