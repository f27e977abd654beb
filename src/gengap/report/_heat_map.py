"""Heat maps: a value over two settings, a cell for each pair of them."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from . import _marks as marks
from ._axis import Axis, as_axis
from ._chart import Chart
from ._look import INK
from ._spread import Spread, check_columns, summarize

CELL, TALL, WIDEST, HIGHEST, NARROWEST = 78, 42, 640, 460, 300


def heat_map(
    frame: pd.DataFrame,
    *,
    x: str | Axis,
    y: str | Axis,
    value: str | Axis,
    name: str,
    title: str = "",
    caption: str = "",
    center: float | None = None,
    bright: str = "low",
    spread: Spread | None = "sd",
) -> Chart:
    """Draw the mean of a value for each pair of two settings as colored cells with its number.

    Every setting has cells of one size, in ascending order, whatever the distance of its values.
    The colors can be told apart without color vision: lightness runs with the value.

    Args:
        frame: One row for each x, y and repetition; values that are missing or infinite are left
            out, and a pair without any is left white.
        x: Column or axis across: numbers, or text in the frame's order.
        y: Column or axis up.
        value: Column or axis of the values; `log` colors by the logarithm, of positive values.
        name: Name of the chart's files.
        title: Heading.
        caption: Text beneath.
        center: A value with a meaning of its own, such as 0: colored white, values below it
            orange and above it purple, both darker as they go.
        bright: Which values are bright, "low" or "high"; for values without a center.
        spread: What the tooltip and the CSV say beside the mean, as of `summarize`.

    Raises:
        ValueError: A column is missing.
    """
    x, y, value = as_axis(x), as_axis(y), as_axis(value)
    check_columns(frame, x.column, y.column, value.column)
    finite = frame[value.column].astype(float)
    finite = finite.where(finite.abs() < math.inf)
    clean = frame.assign(**{value.column: finite})
    data = summarize(clean, x=x.column, y=value.column, group=y.column, spread=spread)
    across, up = (_settings(frame, axis) for axis in (x, y))
    low, high = _domain(data[value.column], value, center)
    rows = [
        {**row, "dark": _is_dark(row["v"], (low, high), value, center=center, bright=bright)}
        for row in _rows(data, (x, y, value))
    ]
    color = _color(value, (low, high), center=center, bright=bright)
    layers = _layers(rows, (x, y, value), (across, up), color)
    chart = marks.layered(
        layers,
        height=min(TALL * max(len(up), 2), HIGHEST),
        width=max(min(CELL * len(across), WIDEST), NARROWEST),
    )
    return Chart(name=name, chart=chart, data=data, title=title, caption=caption)


def _settings(frame: pd.DataFrame, axis: Axis) -> list[str]:
    """Return the settings of an axis in their order, as written."""
    column = frame[axis.column].dropna()
    values = list(dict.fromkeys(column))
    if pd.api.types.is_numeric_dtype(column):
        values = sorted(values)
    return [_written(value, axis) for value in values]


def _written(value: Any, axis: Axis) -> str:
    if isinstance(value, str):
        return value
    return f"{100 * float(value):g} %" if axis.percent else f"{float(value):g}"


def _rows(data: pd.DataFrame, axes: tuple[Axis, Axis, Axis]) -> list[dict[str, Any]]:
    x, y, value = axes
    kept = []
    for row in data.to_dict("records"):
        mean = float(row[value.column])
        if not math.isfinite(mean) or (value.log and mean <= 0):
            continue
        low, high = (row.get(f"{value.column}_{end}", math.nan) for end in ("low", "high"))
        known = math.isfinite(low) and math.isfinite(high)
        kept.append({
            "x": _written(row[x.column], x),
            "y": _written(row[y.column], y),
            "v": mean,
            "text": _short(100 * mean if value.percent else mean),
            "around": f"{value.write(low)} to {value.write(high)}" if known else "–",
            "count": int(row["count"]),
        })
    return kept


def _short(number: float) -> str:
    """Write a number in three digits, without an exponent where that is short."""
    return f"{float(f'{number:.3g}'):g}".replace("-", "\N{MINUS SIGN}", 1)


def _domain(values: pd.Series, axis: Axis, center: float | None) -> tuple[float, float]:
    """Return the ends of the colors: those of the data, as far on both sides of a center."""
    if axis.domain is not None:
        return axis.domain
    known = values[(values > 0) if axis.log else values.notna()].astype(float)
    if not len(known):
        return (1.0, 10.0) if axis.log else (0.0, 1.0)
    low, high = float(known.min()), float(known.max())
    if center is not None:
        reach = max(center - low, high - center) or 1.0
        return center - reach, center + reach
    if low == high:
        return (low / 2, low * 2) if axis.log else (low - 0.5, low + 0.5)
    return low, high


def _is_dark(
    value: float,
    domain: tuple[float, float],
    axis: Axis,
    *,
    center: float | None,
    bright: str,
) -> bool:
    """Return whether a cell is so dark that its number has to be white."""
    measure = math.log if axis.log else float
    low, high, at = (measure(number) for number in (*domain, value))
    place = (at - low) / (high - low)
    if center is not None:
        return abs(place - 0.5) > 0.3
    return place > 0.45 if bright == "low" else place < 0.55


def _color(axis: Axis, domain: tuple[float, float], *, center: float | None, bright: str) -> Any:
    import altair as alt

    legend = alt.Legend(
        title=axis.text,
        orient="right",
        direction="vertical",
        gradientLength=150,
        gradientThickness=14,
        format=axis.number_format if axis.percent else "~g",
        columns=1,
        tickCount=4,
    )
    scale = alt.Scale(
        type="log" if axis.log else "linear",
        scheme="viridis" if center is None else "purpleorange",
        reverse=bright == "low" if center is None else True,
        domain=list(domain),
        clamp=True,
        nice=False,
        zero=False,
    )
    return alt.Color("v:Q", scale=scale, legend=legend)


def _layers(
    rows: Sequence[dict[str, Any]],
    axes: tuple[Axis, Axis, Axis],
    settings: tuple[list[str], list[str]],
    color: Any,
) -> list[Any]:
    import altair as alt

    x, y, value = axes
    across, up = settings
    look = alt.Axis(labelAngle=0, grid=False, domain=False, ticks=False)
    channels = [
        alt.X("x:O", title=x.text, scale=alt.Scale(domain=across, padding=0), axis=look),
        alt.Y("y:O", title=y.text, scale=alt.Scale(domain=up[::-1], padding=0), axis=look),
    ]
    tips = [
        alt.Tooltip("x:N", title=x.text),
        alt.Tooltip("y:N", title=y.text),
        alt.Tooltip("v:Q", title=value.text, format=value.value_format),
        alt.Tooltip("around:N", title="spread"),
        alt.Tooltip("count:Q", title="repetitions"),
    ]
    base = alt.Chart(alt.Data(values=list(rows))).encode(*channels)
    cells = base.mark_rect(stroke="#ffffff", strokeWidth=1).encode(color=color, tooltip=tips)
    ink = alt.condition("datum.dark", alt.value("#ffffff"), alt.value(INK))
    numbers = base.mark_text(fontSize=12, tooltip=None).encode(text="text:N", color=ink)
    return [cells, numbers]
