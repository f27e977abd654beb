"""The parts charts are put together from. Inside a chart the columns are x, y, low, high, group."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import pandas as pd

from ._axis import Axis, Kind
from ._look import MUTED, Groups, Style, styles

WIDTH, HEIGHT = 620, 300
SHOWN = "chosen === null || datum.group === chosen"
MOST_POINTS = 300


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """What a chart is to show, before it is drawn.

    Attributes:
        rows: Plain values x, y, group, count, and low, high and around where there is a spread.
        x: Axis across.
        y: Axis up.
        group: Name of the group's column, for the reader.
        styles: Groups with their styles.
        spread: Whether the rows have them.
    """

    rows: list[dict[str, Any]]
    x: Axis
    y: Axis
    group: str
    styles: dict[str, Style]
    spread: bool = False

    def color(self) -> Any:
        """Return the channel that colors by group."""
        import altair as alt

        return alt.Color("group:N", scale=self._scale("color"), title=None)

    def dash(self) -> Any:
        """Return the channel that dashes lines by group."""
        import altair as alt

        return alt.StrokeDash("group:N", scale=self._scale("dash"), title=None)

    def shape(self) -> Any:
        """Return the channel that shapes points by group."""
        import altair as alt

        return alt.Shape("group:N", scale=self._scale("shape"), title=None)

    def tooltip(self, *, kind: Kind = "quantitative") -> list[Any]:
        """Return the lines of a tooltip; `kind` is that of x."""
        import altair as alt

        lines = [alt.Tooltip("group:N", title=self.group)]
        if kind == "quantitative":
            lines.append(alt.Tooltip("x:Q", title=self.x.text, format=self.x.value_format))
        elif self.x.column != self.group:
            lines.append(alt.Tooltip("x:N", title=self.x.text))
        form = self.y.value_format
        lines.append(alt.Tooltip("y:Q", title=self.y.text, format=form))
        if self.spread:
            lines.append(alt.Tooltip("around:N", title="spread"))
            lines.append(alt.Tooltip("count:Q", title="repetitions"))
        return lines

    def _scale(self, trait: str) -> Any:
        import altair as alt

        values = [getattr(style, trait) for style in self.styles.values()]
        values = [list(value) if isinstance(value, tuple) else value for value in values]
        return alt.Scale(domain=list(self.styles), range=values)


def group_styles(frame: pd.DataFrame, *, group: str, groups: Groups | None) -> dict[str, Style]:
    """Return the styles of the groups, in the order given or that of the frame."""
    present = list(dict.fromkeys(map(str, frame[group])))
    if groups is None:
        return styles(present)
    found = styles(groups)
    missing = [name for name in present if name not in found]
    if missing:
        raise ValueError(f"`groups` must name every group of `frame`; got none for {missing[0]!r}.")
    return {name: style for name, style in found.items() if name in present}


def records(
    data: pd.DataFrame, *, x: Axis, y: Axis, group: str, extra: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Return the rows to draw as plain JSON values; what has no place on the axes is left out."""
    kept = []
    for row in data.to_dict("records"):
        values = {
            "x": _plain(row[x.column]),
            "y": _plain(row[y.column]),
            "group": str(row[group]),
            "count": _plain(row.get("count", 1)),
            **{f"extra{place}": _plain(row[column]) for place, column in enumerate(extra)},
        }
        if f"{y.column}_low" in row:
            low, high = _plain(row[f"{y.column}_low"]), _plain(row[f"{y.column}_high"])
            known = low is not None and high is not None
            around = f"{y.write(low)} to {y.write(high)}" if known else "–"
            values |= {"low": low, "high": high, "around": around}
        if _fits(values["x"], x) and _fits(values["y"], y):
            kept.append(values)
    return kept


def thinned(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep at most so many rows a group, evenly, the first and the last among them."""
    by_group: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_group.setdefault(row["group"], []).append(row)
    kept = []
    for part in by_group.values():
        last = len(part) - 1
        if last < MOST_POINTS:
            kept += part
        else:
            kept += [part[turn * last // (MOST_POINTS - 1)] for turn in range(MOST_POINTS)]
    return kept


def opacity(shown: float = 1.0, faded: float = 0.15) -> Any:
    """Return the opacity that fades the groups that are not chosen."""
    import altair as alt

    return alt.condition(SHOWN, alt.value(shown), alt.value(faded))


def rules(levels: Mapping[str, float], *, axis: Axis, along: str = "y") -> list[Any]:
    """Return dotted lines at named levels of one axis, named outside the drawing."""
    import altair as alt

    if not levels:
        return []
    values = [{along: float(value), "label": label} for label, value in levels.items()]
    data = alt.Chart(alt.Data(values=values))
    channel = axis.channel(along, field_name=along)
    line = data.mark_rule(color=MUTED, strokeDash=[3, 3], strokeWidth=1.2)
    place: dict[str, Any] = {"align": "left", "fontSize": 12, "color": MUTED, "dx": 5}
    if along == "y":
        text = data.mark_text(baseline="middle", **place)
        text = text.encode(channel, x=alt.value("width"), text="label:N")
    else:
        text = data.mark_text(baseline="bottom", dy=-3, **place)
        text = text.encode(channel, y=alt.value(0), text="label:N")
    return [line.encode(channel), text]


def layered(
    layers: Sequence[Any], *, height: float | dict[str, int] = HEIGHT, width: int = WIDTH
) -> Any:
    """Return one chart of many layers with the parameter `chosen`."""
    import altair as alt

    chosen = alt.param(name="chosen", value=None)
    return alt.layer(*layers).add_params(chosen).properties(width=width, height=height)


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (int, float, str)) or value is None else str(value)


def _fits(value: object, axis: Axis) -> bool:
    if value is None:
        return False
    return not (axis.log and isinstance(value, (int, float)) and value <= 0)
