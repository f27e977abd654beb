"""The house look: colors that color-blind readers can tell apart, dashes, fonts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

PALETTE = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#882255",
    "#332288",
    "#7f7f1a",
    "#4d4d4d",
)
"""Okabe and Ito's colors without yellow and black, filled up from Paul Tol's muted set."""

DASHES: tuple[tuple[int, ...], ...] = ((1, 0), (7, 3), (2, 2), (9, 3, 2, 3), (4, 2))

SHAPES = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down")

FONT = "'Liberation Sans', Arial, Helvetica, Arimo, sans-serif"
"""Fonts of one width a letter: what a picture was laid out with is what its reader has."""

ROOM = 28
"""Pixels left free on the right, for texts that a reader's font makes longer."""

NARROW, LETTER, SYMBOL, GAP = 4, 7, 26, 22
"""Pixels of a narrow letter in a legend, of another, of a symbol, and between two columns."""

INK, MUTED, GRID = "#1f2933", "#52606d", "#e4e7eb"

Groups = Iterable[str] | Mapping[str, str]


@final
@dataclass(frozen=True, kw_only=True)
class Style:
    """How one group is drawn in every chart of a page.

    Attributes:
        color: Color of marks, as #rrggbb.
        dash: Lengths of strokes and gaps, in pixels.
        shape: Shape of points, by its Vega name.
    """

    color: str
    dash: tuple[int, ...] = (1, 0)
    shape: str = "circle"


def styles(groups: Groups) -> dict[str, Style]:
    """Return a style for each group, by its place in the order.

    Args:
        groups: Names in their fixed order, or a mapping from name to color.
    """
    colors = dict(groups) if isinstance(groups, Mapping) else {}
    found = {}
    for place, name in enumerate(groups):
        turn = place + place // len(PALETTE)
        found[str(name)] = Style(
            color=colors.get(name, PALETTE[place % len(PALETTE)]),
            dash=DASHES[turn % len(DASHES)],
            shape=SHAPES[turn % len(SHAPES)],
        )
    return found


def legend_columns(names: Sequence[str], *, width: float) -> int:
    """Return the most columns in which a legend of these names, row by row, fits the width."""
    lengths = [SYMBOL + sum(NARROW if c in " ,.:'iIjltf1" else LETTER for c in n) for n in names]
    for columns in range(len(names), 1, -1):
        widest = [max(lengths[place::columns]) for place in range(columns)]
        if sum(widest) + GAP * (columns - 1) <= width:
            return columns
    return 1


def config() -> dict[str, Any]:
    """Return the Vega-Lite configuration of every chart."""
    return {
        "font": FONT,
        "background": "#ffffff",
        "padding": {"left": 8, "top": 8, "bottom": 8, "right": ROOM},
        "view": {"stroke": None},
        "title": {"anchor": "start", "fontSize": 17, "fontWeight": 600, "color": INK, "offset": 14},
        "axis": {
            "labelFontSize": 13,
            "titleFontSize": 13,
            "titleFontWeight": 600,
            "titlePadding": 10,
            "labelColor": MUTED,
            "titleColor": INK,
            "domainColor": "#9aa5b1",
            "tickColor": "#9aa5b1",
            "gridColor": GRID,
            "labelPadding": 5,
        },
        "axisX": {"grid": False, "labelFlush": False},
        "axisY": {"domain": False, "ticks": False},
        "legend": {
            "orient": "bottom",
            "title": None,
            "labelFontSize": 13,
            "labelColor": INK,
            "labelLimit": 260,
            "symbolOpacity": 1,
            "symbolStrokeWidth": 2.5,
            "symbolSize": 220,
            "columnPadding": GAP,
            "rowPadding": 5,
        },
    }
