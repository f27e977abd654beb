"""Axes: which column is drawn, and how its numbers are written."""

from dataclasses import dataclass, field
from typing import Any, Literal, final

Kind = Literal["quantitative", "nominal"]


@final
@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of a chart.

    Attributes:
        column: Column of the frame.
        title: What stands beside the axis, with units; None takes it from the column.
        percent: Write shares in [0, 1] as percentages.
        log: Logarithmic scale. Values at or below zero have no place on it and are left out of the
            drawing; the CSV keeps them.
        domain: Lowest and highest value shown; None takes them from the data.
    """

    column: str = field(kw_only=False)
    title: str | None = None
    percent: bool = False
    log: bool = False
    domain: tuple[float, float] | None = None

    @property
    def text(self) -> str:
        """The title shown."""
        if self.title is not None:
            return self.title
        words = self.column.replace("_", " ")
        return words[:1].upper() + words[1:]

    @property
    def number_format(self) -> str:
        """The d3 format of tick labels."""
        return "~%" if self.percent else "~g" if self.log else ",~r"

    @property
    def value_format(self) -> str:
        """The d3 format in tooltips."""
        return ".2%" if self.percent else ".4~g"

    def write(self, value: float) -> str:
        """Write one value as in tooltips."""
        return f"{value:.2%}" if self.percent else f"{value:.4g}"

    def channel(
        self, name: str, *, field_name: str, kind: Kind = "quantitative", padding: float = 0
    ) -> Any:
        """Return the Altair channel "x" or "y" for this axis; `padding` in pixels."""
        import altair as alt

        channel = {"x": alt.X, "y": alt.Y}[name]
        title = self.text or None
        if kind != "quantitative":
            axis = alt.Axis(labelAngle=0, labelLimit=260)
            return channel(f"{field_name}:N", title=title, sort=None, axis=axis)
        scale: dict[str, Any] = {"type": "log" if self.log else "linear", "zero": False}
        if self.log:
            scale = {"type": "log", "nice": False}
        if self.domain is not None:
            scale |= {"domain": list(self.domain), "clamp": True, "nice": False}
        elif padding:
            scale |= {"padding": padding, "nice": False}
        axis = alt.Axis(format=self.number_format, tickCount=6)
        return channel(f"{field_name}:Q", title=title, scale=alt.Scale(**scale), axis=axis)


def as_axis(axis: str | Axis) -> Axis:
    """Return an axis, given one or the name of a column."""
    return axis if isinstance(axis, Axis) else Axis(axis)
