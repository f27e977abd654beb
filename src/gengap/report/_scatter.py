"""Scatter: one point a row."""

from collections.abc import Mapping, Sequence

import pandas as pd

from . import _marks as marks
from ._axis import Axis, as_axis
from ._chart import Chart
from ._look import Groups
from ._spread import check_columns


def scatter(
    frame: pd.DataFrame,
    *,
    x: str | Axis,
    y: str | Axis,
    group: str,
    name: str,
    title: str = "",
    caption: str = "",
    details: Sequence[str] = (),
    groups: Groups | None = None,
    rules: Mapping[str, float] | None = None,
) -> Chart:
    """Draw one point for each row.

    Args:
        frame: One row a point; rows without x or y are left out of the drawing.
        x: Column or axis of numbers.
        y: Column or axis of numbers.
        group: Column that names the group.
        name: Name of the chart's files.
        title: Heading.
        caption: Text beneath.
        details: Further columns shown under the pointer and kept in the data.
        groups: All names in a fixed order, or names with colors. None takes the frame's order.
        rules: Label to level of y, drawn as dotted lines.
    """
    import altair as alt

    x, y = as_axis(x), as_axis(y)
    check_columns(frame, x.column, y.column, group, *details)
    found = marks.group_styles(frame, group=group, groups=groups)
    data = frame[list(dict.fromkeys([group, x.column, y.column, *details]))].reset_index(drop=True)
    rows = marks.records(data, x=x, y=y, group=group, extra=details)
    plan = marks.Plan(rows=rows, x=x, y=y, group=group, styles=found)
    lines = plan.tooltip()
    lines += [alt.Tooltip(f"extra{place}:N", title=column) for place, column in enumerate(details)]
    points = alt.Chart(alt.Data(values=rows)).mark_point(filled=True, size=80, cursor="pointer")
    points = points.encode(
        x.channel("x", field_name="x", padding=16),
        y.channel("y", field_name="y"),
        color=plan.color(),
        shape=plan.shape(),
        opacity=marks.opacity(0.8),
        tooltip=lines,
    )
    return Chart(
        name=name,
        chart=marks.layered([*marks.rules(rules or {}, axis=y), points]),
        data=data,
        title=title,
        caption=caption,
        styles=found,
    )
