"""Curves: means over repetitions along an axis, each with its band."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

from . import _marks as marks
from ._axis import Axis, as_axis
from ._chart import Chart
from ._look import Groups
from ._spread import Spread, check_columns, summarize


def curves(
    frame: pd.DataFrame,
    *,
    x: str | Axis,
    y: str | Axis,
    group: str,
    name: str,
    title: str = "",
    caption: str = "",
    band: Spread | None = "range",
    unit: str | None = None,
    groups: Groups | None = None,
    rules: Mapping[str, float] | None = None,
) -> Chart:
    """Draw one curve for each group: the mean of y at every x, with a band around it.

    Args:
        frame: One row for each group, x and repetition.
        x: Column or axis of numbers.
        y: Column or axis of numbers; missing values are left out.
        group: Column that names the group.
        name: Name of the chart's files.
        title: Heading.
        caption: Text beneath.
        band: "range" from lowest to highest, "sd" for one standard deviation, None for no band.
        unit: Column that names the repetition; one that ends early keeps its last value until
            its group's last x.
        groups: All names in a fixed order, or names with colors, so that a group looks the same
            in every chart of a page. None takes the frame's order.
        rules: Label to level of y, drawn as dotted lines.

    Returns:
        The chart. Of more than 300 points a curve the drawing keeps 300, evenly; the data all.
    """
    x, y = as_axis(x), as_axis(y)
    check_columns(frame, x.column, y.column, group)
    found = marks.group_styles(frame, group=group, groups=groups)
    data = summarize(frame, x=x.column, y=y.column, group=group, spread=band, unit=unit)
    plan = marks.Plan(
        rows=marks.thinned(marks.records(data, x=x, y=y, group=group)),
        x=x,
        y=y,
        group=group,
        styles=found,
        spread=band is not None,
    )
    chart = marks.layered([*marks.rules(rules or {}, axis=y), *_layers(plan)])
    return Chart(
        name=name,
        chart=chart.configure_legend(symbolType="stroke", symbolSize=550),
        data=data,
        title=title,
        caption=caption,
        styles=found,
    )


def _layers(plan: marks.Plan) -> list[Any]:
    """Put band, lines and the points that answer the pointer on top of each other."""
    import altair as alt

    counts = Counter(row["group"] for row in plan.rows)
    rows = [{**row, "lone": counts[row["group"]] == 1} for row in plan.rows]
    base = alt.Chart(alt.Data(values=rows)).encode(
        plan.x.channel("x", field_name="x"), color=plan.color()
    )
    height = plan.y.channel("y", field_name="y")
    layers = []
    if plan.spread:
        low = plan.y.channel("y", field_name="low")
        area = base.mark_area(cursor="pointer")
        layers.append(area.encode(low, alt.Y2("high"), opacity=marks.opacity(0.16, 0.02)))
    line = base.mark_line(strokeWidth=2.2, strokeJoin="round", cursor="pointer")
    layers.append(line.encode(height, strokeDash=plan.dash(), opacity=marks.opacity()))
    points = base.mark_point(filled=True, size=90, cursor="pointer").encode(
        height,
        opacity=alt.condition("datum.lone", alt.value(1), alt.value(0)),
        tooltip=plan.tooltip(),
    )
    return [*layers, points]
