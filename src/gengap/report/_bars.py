"""Bars: one value for each category, lying down so that names can be read."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from . import _marks as marks
from ._axis import Axis, as_axis
from ._chart import Chart
from ._look import INK, Groups
from ._spread import Spread, check_columns, summarize


def bars(
    frame: pd.DataFrame,
    *,
    category: str | Axis,
    value: str | Axis,
    name: str,
    group: str | None = None,
    title: str = "",
    caption: str = "",
    error: Spread | None = "range",
    groups: Groups | None = None,
    rules: Mapping[str, float] | None = None,
) -> Chart:
    """Draw one lying bar for each category, or one for each group within it, from zero.

    Args:
        frame: One row for each category, group and repetition.
        category: Column or axis of names, drawn from top to bottom in the frame's order.
        value: Column or axis of numbers; missing values are left out.
        name: Name of the chart's files.
        group: Column that names the bar within its category; None colors by category.
        title: Heading.
        caption: Text beneath.
        error: "range" from lowest to highest, "sd" for one standard deviation, None for none.
        groups: All names in a fixed order, or names with colors. None takes the frame's order.
        rules: Label to level of the value, drawn as dotted lines.
    """
    category, value = as_axis(category), as_axis(value)
    by = category.column if group is None else group
    check_columns(frame, category.column, value.column, by)
    found = marks.group_styles(frame, group=by, groups=groups)
    named = frame.assign(__category=frame[category.column].astype(str), __group=frame[by])
    data = summarize(named, x="__category", y=value.column, group="__group", spread=error)
    plan = marks.Plan(
        rows=marks.records(data, x=Axis("__category"), y=value, group="__group"),
        x=category,
        y=value,
        group=by,
        styles=found,
        spread=error is not None,
    )
    data = data.drop(columns="__group") if group is None else data
    layers = [*_layers(plan), *marks.rules(rules or {}, axis=value, along="x")]
    chart = marks.layered(layers, height={"step": 34 if group is None else 20})
    return Chart(
        name=name,
        chart=chart.configure_legend(disable=group is None),
        data=data.rename(columns={"__category": category.column, "__group": by}),
        title=title,
        caption=caption,
        styles=found,
    )


def _layers(plan: marks.Plan) -> list[Any]:
    """Put bars and whiskers on top of each other."""
    import altair as alt

    names = plan.x.channel("y", field_name="x", kind="nominal")
    base = alt.Chart(alt.Data(values=plan.rows)).encode(names, opacity=marks.opacity(0.9))
    if plan.group != plan.x.column:
        base = base.encode(yOffset=alt.YOffset("group:N", sort=list(plan.styles)))
    along = plan.y.channel("x", field_name="y")
    if not plan.y.log:
        along.scale.zero = True
    bar = base.mark_bar(cornerRadiusEnd=3, cursor="pointer")
    layers = [bar.encode(along, color=plan.color(), tooltip=plan.tooltip(kind="nominal"))]
    if plan.spread:
        ends = plan.y.channel("x", field_name="low")
        layers.append(base.mark_rule(color=INK, strokeWidth=1.5).encode(ends, alt.X2("high")))
    return layers
