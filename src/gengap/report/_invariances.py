"""Invariances: by which factor each measure changes under each transformation."""

import math
from typing import Any, Literal

import pandas as pd

from . import _marks as marks
from ._axis import Axis
from ._chart import Chart
from ._look import INK
from ._spread import check_columns

ROW, COLUMN, UNCHANGED = 30, 118, 1e-6
MOST_DECADES = 6.0


def invariances(
    frame: pd.DataFrame,
    *,
    name: str,
    measure: str = "measure",
    transformation: str = "transformation",
    factor: str = "factor",
    title: str = "",
    caption: str = "",
) -> Chart:
    """Draw a table of factors: white where a measure stays, colored where it grows or shrinks.

    Args:
        frame: One row a measure and transformation. A factor below 0 is a change of sign; one
            that is missing has not been measured.
        name: Name of the chart's files.
        measure: Column that names the row, from top to bottom in the frame's order.
        transformation: Column that names the column.
        factor: Value after the transformation over value before it. The color is its logarithm,
            full at a million either way.
        title: Heading.
        caption: Text beneath.
    """
    import altair as alt

    check_columns(frame, measure, transformation, factor)
    rows = [
        {"row": str(m), "column": str(t), "group": str(m), **_cell(float(f))}
        for m, t, f in zip(frame[measure], frame[transformation], frame[factor], strict=True)
    ]
    measures = list(dict.fromkeys(row["row"] for row in rows))
    columns = list(dict.fromkeys(row["column"] for row in rows))
    base = alt.Chart(alt.Data(values=rows)).encode(
        alt.X("column:N", sort=columns, title=None, axis=_names("top", COLUMN - 8)),
        alt.Y("row:N", sort=measures, title=None, axis=_names("left", 260)),
    )
    most = max((abs(row["decades"] or 0.0) for row in rows), default=1.0)
    reach = max(1.0, min(MOST_DECADES, most))
    scale = alt.Scale(
        domain=[-reach, 0, reach],
        range=["#2166ac", "#ffffff", "#b2501e"],
        clamp=True,
        interpolate="lab",
    )
    cells = base.mark_rect(stroke="#cbd2d9", strokeWidth=1).encode(
        color=alt.Color("decades:Q", scale=scale, legend=None),
        opacity=marks.opacity(1.0, 0.35),
        tooltip=[
            alt.Tooltip("row:N", title=measure),
            alt.Tooltip("column:N", title=transformation),
            alt.Tooltip("said:N", title=Axis(factor).text),
        ],
    )
    light = alt.condition(
        f"abs(datum.decades) > {0.6 * reach}", alt.value("#ffffff"), alt.value(INK)
    )
    text = base.mark_text(fontSize=13).encode(text="said:N", color=light)
    chart = marks.layered([cells, text], height={"step": ROW}).properties(width={"step": COLUMN})
    return Chart(
        name=name,
        chart=chart,
        data=frame.reset_index(drop=True),
        title=title,
        caption=caption,
    )


def _names(orient: Literal["top", "left"], limit: int) -> Any:
    import altair as alt

    return alt.Axis(orient=orient, labelAngle=0, labelLimit=limit, ticks=False, domain=False)


def _cell(factor: float) -> dict[str, Any]:
    """Return the color and the text of one factor."""
    if math.isnan(factor):
        return {"decades": None, "said": "–"}
    if abs(factor - 1) <= UNCHANGED:
        return {"decades": 0.0, "said": "1"}
    if math.isinf(factor) or factor == 0:
        decades = math.copysign(MOST_DECADES, 1 if factor else -1)
        return {"decades": decades, "said": f"× {'∞' if factor else 0}"}
    decades = math.log10(abs(factor))
    return {"decades": decades, "said": f"× {_short(factor)}"}


def _short(factor: float) -> str:
    if 1e-3 < abs(factor) < 1e4:
        return f"{factor:.4g}" if abs(factor - 1) < 0.1 else f"{factor:.3g}"
    digits, _, power = f"{factor:.1e}".partition("e")
    return f"{digits.removesuffix('.0')}e{int(power)}"
