"""Paths: loss and accuracy between two points of parameter space, on two axes."""

from typing import Any

import pandas as pd

from gengap._checks import check_choice

from . import _marks as marks
from ._axis import Axis
from ._chart import Chart
from ._look import MUTED, PALETTE, Style
from ._spread import Spread, check_columns, summarize

LOSS, ACCURACY = PALETTE[0], PALETTE[1]
HALVES = {"train": Style(color=MUTED), "test": Style(color=MUTED, dash=(6, 4), shape="square")}


def paths(
    frame: pd.DataFrame,
    *,
    name: str,
    title: str = "",
    caption: str = "",
    ends: tuple[str, str] | None = ("start", "end"),
    log: bool = False,
    band: Spread | None = "range",
) -> Chart:
    """Draw loss (left axis) and accuracy (right axis) along a path; train solid, test dashed.

    Args:
        frame: One row a point, half and repetition: columns alpha, half ("train" or "test"), loss
            and accuracy, as `Profile.frame()` gives. Without any accuracy the right axis is left
            out.
        name: Name of the chart's files.
        title: Heading.
        caption: Text beneath.
        ends: What is at alpha 0 and 1, marked by dotted lines; None for none.
        log: Whether the axis of the loss is logarithmic.
        band: As of `curves`, over repetitions.
    """
    check_columns(frame, "alpha", "half", "loss", "accuracy")
    for half in frame["half"].unique():
        check_choice("half", half, tuple(HALVES))
    axes = {
        "loss": Axis("loss", title="Loss", log=log),
        "accuracy": Axis("accuracy", title="Accuracy", percent=True),
    }
    colors = {"loss": LOSS, "accuracy": ACCURACY}
    parts, layers = [], []
    for column, axis in axes.items():
        if frame[column].isna().all():
            continue
        data = summarize(frame, x="alpha", y=column, group="half", spread=band)
        parts.append(data.rename(columns={"count": f"{column}_count"}))
        layers.append(_layers(data, axis, colors[column], band=band is not None))
    whole = parts[0] if len(parts) == 1 else parts[0].merge(parts[1], on=["half", "alpha"])
    return Chart(
        name=name,
        chart=_drawing(layers, ends),
        data=whole,
        title=title,
        caption=caption,
        styles={half: style for half, style in HALVES.items() if half in set(frame["half"])},
    )


def _drawing(layers: list[Any], ends: tuple[str, str] | None) -> Any:
    """Put loss, accuracy and the marks of the ends together, each of the two with its axis."""
    import altair as alt

    levels = {} if ends is None else {ends[0]: 0.0, ends[1]: 1.0}
    across = Axis("alpha", title="α")
    below = marks.rules(levels, axis=across, along="x")
    chart = marks.layered([alt.layer(*below, *layers[0]), *[alt.layer(*x) for x in layers[1:]]])
    return chart.resolve_scale(y="independent").configure_legend(
        symbolType="stroke", symbolSize=550, symbolStrokeColor=MUTED
    )


def _layers(data: pd.DataFrame, axis: Axis, color: str, *, band: bool) -> list[Any]:
    """Return band, line and points of one quantity, with its axis in its color."""
    import altair as alt

    across = Axis("alpha", title="α")
    rows = marks.records(data, x=across, y=axis, group="half")
    styles = {half: style for half, style in HALVES.items() if half in set(data["half"])}
    plan = marks.Plan(rows=rows, x=across, y=axis, group="half", styles=styles, spread=band)
    base = alt.Chart(alt.Data(values=rows)).encode(across.channel("x", field_name="x"))
    right = axis.column == "accuracy"
    up = axis.channel("y", field_name="y")
    side = {"orient": "right" if right else "left", "grid": not right, "tickCount": 5}
    for trait, value in {**side, "titleColor": color, "labelColor": color}.items():
        up["axis"][trait] = value
    layers = []
    if band and bool((data["count"] > 1).any()):
        area = base.mark_area(color=color)
        low = up.copy()
        low.shorthand = "low:Q"
        layers.append(
            area.encode(low, alt.Y2("high"), opacity=marks.opacity(0.14, 0.02), detail="group:N")
        )
    line = base.mark_line(color=color, strokeWidth=2.2, strokeJoin="round", cursor="pointer")
    layers.append(line.encode(up, strokeDash=plan.dash(), opacity=marks.opacity()))
    point = base.mark_point(filled=True, color=color, size=60, cursor="pointer")
    return [*layers, point.encode(up, opacity=alt.value(0), tooltip=plan.tooltip())]
