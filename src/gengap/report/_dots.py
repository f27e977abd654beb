"""Dots: values against a level, with whiskers."""

from collections.abc import Mapping
from typing import Any, Literal

import pandas as pd

from . import _marks as marks
from ._axis import Axis, Kind, as_axis
from ._chart import Chart
from ._look import MUTED, Groups
from ._spread import Spread, check_columns, summarize

Connect = Literal["all", "group"]


def dots(
    frame: pd.DataFrame,
    *,
    x: str | Axis,
    y: str | Axis,
    group: str,
    name: str,
    title: str = "",
    caption: str = "",
    error: Spread | None = "range",
    connect: Connect | None = None,
    groups: Groups | None = None,
    rules: Mapping[str, float] | None = None,
) -> Chart:
    """Draw one dot for each group and level: the mean of y, with whiskers around it.

    Args:
        frame: One row for each group, level and repetition.
        x: Column or axis of levels: numbers, or names drawn in the frame's order.
        y: Column or axis of numbers; missing values are left out.
        group: Column that names the group.
        name: Name of the chart's files.
        title: Heading.
        caption: Text beneath.
        error: "range" from lowest to highest, "sd" for one standard deviation, None for none.
        connect: "group" joins the dots of a group, "all" joins all dots by one grey line along x.
        groups: All names in a fixed order, or names with colors. None takes the frame's order.
        rules: Label to level of y, drawn as dotted lines.
    """
    x, y = as_axis(x), as_axis(y)
    check_columns(frame, x.column, y.column, group)
    found = marks.group_styles(frame, group=group, groups=groups)
    data = summarize(frame, x=x.column, y=y.column, group=group, spread=error)
    plan = marks.Plan(
        rows=marks.records(data, x=x, y=y, group=group),
        x=x,
        y=y,
        group=group,
        styles=found,
        spread=error is not None,
    )
    numeric = pd.api.types.is_numeric_dtype(data[x.column])
    layers = _layers(plan, kind="quantitative" if numeric else "nominal", connect=connect)
    chart = marks.layered([*marks.rules(rules or {}, axis=y), *layers])
    return Chart(
        name=name,
        chart=chart.configure_legend(symbolStrokeWidth=0),
        data=data,
        title=title,
        caption=caption,
        styles=found,
    )


def _layers(plan: marks.Plan, *, kind: Kind, connect: Connect | None) -> list[Any]:
    """Put connecting lines, whiskers and points on top of each other."""
    import altair as alt

    across = plan.x.channel("x", field_name="x", kind=kind, padding=16)
    up = plan.y.channel("y", field_name="y")
    base = alt.Chart(alt.Data(values=plan.rows)).encode(across)
    colored = base.encode(color=plan.color(), opacity=marks.opacity())
    layers = []
    if connect == "all":
        layers.append(base.mark_line(color=MUTED, strokeWidth=1.4, opacity=0.5).encode(up))
    elif connect == "group":
        line = colored.mark_line(strokeWidth=2, cursor="pointer")
        layers.append(line.encode(up, strokeDash=plan.dash()))
    if plan.spread:
        low = plan.y.channel("y", field_name="low")
        layers.append(colored.mark_rule(strokeWidth=2).encode(low, alt.Y2("high")))
    point = colored.mark_point(filled=True, size=110, cursor="pointer")
    layers.append(point.encode(up, shape=plan.shape(), tooltip=plan.tooltip(kind=kind)))
    return layers
