"""The HTML of a section's items."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby

from ._chart import Chart
from ._claim import Claim
from ._escaping import inline, paragraphs
from ._look import Style
from ._section import Item, Section

MARKS = {"supported": "✓", "not supported": "✗", "inconclusive": "?"}


def section_html(section: Section, *, anchor: str, live: bool) -> str:
    """Return a section; `live` for a page with scripts, else charts are pictures."""
    chips = chips_html(section.styles) if live else ""
    body = ""
    for kind, items in groupby(section.items, key=type):
        run = list(items)
        body += (chips if kind is Chart else "") + _run(kind, run, live=live)
        chips = "" if kind is Chart else chips
    return (
        f'<section id="{anchor}"><h2>{inline(section.title)}</h2>{paragraphs(section.lead)}'
        f"{body}</section>"
    )


def claim_html(claim: Claim) -> str:
    """Return a claim as a card: verdict, sentence, values, rule."""
    values = "".join(
        f"<div><dt>{label}</dt><dd>{inline(value)}</dd></div>"
        for label, value in (("Paper", claim.paper), ("Ours", claim.ours))
        if value
    )
    shown = f'<dl class="values">{values}</dl>' if values else ""
    kind = claim.verdict.replace(" ", "-")
    return (
        f'<article class="claim {kind}"><header><span class="badge"><span aria-hidden="true">'
        f"{MARKS[claim.verdict]}</span> {claim.verdict}</span>"
        f"<h3>{inline(claim.name)}</h3></header><p>{inline(claim.sentence)}</p>{shown}"
        f'<p class="rule"><b>Rule</b> {inline(claim.rule)}</p></article>'
    )


def chart_html(chart: Chart, *, live: bool) -> str:
    """Return a chart as a figure: a place for the script to draw in, or a picture."""
    heading = f"<h3>{inline(chart.title)}</h3>" if chart.title else ""
    below = f"<figcaption>{inline(chart.caption)}</figcaption>" if chart.caption else ""
    picture = svg_picture(chart)
    if not live:
        return f'<figure class="chart">{picture}{below}</figure>'
    buttons = "".join(
        f'<button type="button" data-save="{form}" data-chart="{chart.name}" '
        f'aria-label="Save {escape(chart.title or chart.name)} as {form.upper()}">'
        f"{form.upper()}</button>"
        for form in ("svg", "png", "csv")
    )
    return (
        f'<figure class="chart" id="chart-{chart.name}"><div class="top">{heading}'
        f'<span class="save">{buttons}</span></div>'
        f'<div class="plot" data-plot="{chart.name}"></div>'
        f"<noscript>{picture}</noscript>{below}</figure>"
    )


def svg_picture(chart: Chart) -> str:
    """Return a chart as a picture of its own, so that ids in two drawings cannot meet."""
    source = b64encode(chart.svg.encode()).decode()
    label = escape(chart.title or chart.name)
    return f'<img class="picture" alt="{label}" src="data:image/svg+xml;base64,{source}">'


def chips_html(styles: Mapping[str, Style]) -> str:
    """Return the buttons that choose a group, which are also the legend."""
    if not styles:
        return ""
    chips = "".join(
        f'<button type="button" class="chip" data-group="{escape(name)}" aria-pressed="false">'
        f"{swatch(style)}{escape(name)}</button>"
        for name, style in styles.items()
    )
    return (
        '<div class="chips" role="group" aria-label="Choose a group to highlight in every chart">'
        f'{chips}<button type="button" class="chip all" data-clear hidden>Show all</button></div>'
    )


def swatch(style: Style) -> str:
    """Return a short piece of a group's line."""
    color = escape(style.color)
    dashes = " ".join(map(str, style.dash))
    return (
        '<svg width="26" height="10" aria-hidden="true"><line x1="1" y1="5" x2="25" y2="5" '
        f'stroke="{color}" stroke-width="3" stroke-dasharray="{dashes}"/></svg>'
    )


def _run(kind: type, items: Sequence[Item], *, live: bool) -> str:
    if kind is str:
        return "".join(paragraphs(str(item)) for item in items)
    if kind is Claim:
        cards = "".join(claim_html(item) for item in items if isinstance(item, Claim))
        return f'<div class="claims">{cards}</div>'
    if kind is Chart:
        figures = (chart_html(item, live=live) for item in items if isinstance(item, Chart))
        return f'<div class="charts">{"".join(figures)}</div>'
    return "".join(item.html() for item in items)  # type: ignore[union-attr]
