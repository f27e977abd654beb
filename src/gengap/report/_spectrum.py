"""Spectra: the density of eigenvalues, with its error band."""

from dataclasses import replace
from typing import Any

import pandas as pd

from . import _marks as marks
from ._axis import Axis, as_axis
from ._chart import Chart
from ._look import Groups
from ._spread import check_columns

DECADES = 7


def spectrum(
    frame: pd.DataFrame,
    *,
    name: str,
    x: str | Axis = "grid",
    group: str | None = None,
    title: str = "",
    caption: str = "",
    groups: Groups | None = None,
    log: bool = True,
) -> Chart:
    """Draw the density of eigenvalues, a band from `lower` to `upper` around it.

    Args:
        frame: One row an eigenvalue (and group): the columns grid, density, lower and upper.
        name: Name of the chart's files.
        x: Column or axis of the eigenvalues.
        group: Column that names the spectrum; None for one.
        title: Heading.
        caption: Text beneath.
        groups: All names in a fixed order, or names with colors. None takes the frame's order.
        log: Whether the density has a logarithmic axis, of which the highest seven decades are
            drawn: single eigenvalues far from the bulk are only seen so.
    """
    across = Axis(x, title="Eigenvalue") if isinstance(x, str) else as_axis(x)
    linear = Axis("density", title="Density")
    up = replace(linear, log=log)
    check_columns(frame, across.column, "density", "lower", "upper", group)
    named = frame if group is not None else frame.assign(spectrum="spectrum")
    by = group or "spectrum"
    found = marks.group_styles(named, group=by, groups=groups)
    data = named.rename(columns={"lower": "density_low", "upper": "density_high"})
    floor = float(frame["density"].max()) / 10**DECADES if log else 0.0
    rows = [
        row | {key: max(row[key] or 0.0, floor) for key in ("y", "low", "high")}
        for row in marks.records(data.assign(count=1), x=across, y=linear, group=by)
    ]
    plan = marks.Plan(rows=rows, x=across, y=up, group=by, styles=found, spread=True)
    return Chart(
        name=name,
        chart=marks.layered(_layers(plan)).configure_legend(
            symbolType="stroke", symbolSize=550, disable=group is None
        ),
        data=frame.reset_index(drop=True),
        title=title,
        caption=caption,
        styles=found if group is not None else {},
    )


def _layers(plan: marks.Plan) -> list[Any]:
    import altair as alt

    base = alt.Chart(alt.Data(values=plan.rows)).encode(
        plan.x.channel("x", field_name="x"), color=plan.color()
    )
    low = plan.y.channel("y", field_name="low")
    area = base.mark_area(cursor="pointer").encode(
        low, alt.Y2("high"), opacity=marks.opacity(0.22, 0.03)
    )
    height = plan.y.channel("y", field_name="y")
    line = base.mark_line(strokeWidth=1.8, strokeJoin="round", cursor="pointer")
    point = base.mark_point(filled=True, size=60).encode(
        height, opacity=alt.value(0), tooltip=plan.tooltip()[:-1]
    )
    return [area, line.encode(height, opacity=marks.opacity()), point]
