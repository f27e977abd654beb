"""The page: document, style, script and the Vega runtime in one file."""

import re
from collections.abc import Sequence
from functools import cache
from html import escape
from importlib import metadata, resources

from ._blocks import section_html
from ._chart import Chart
from ._escaping import paragraphs, script_json
from ._section import Section

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)


AROUND = (
    "html{scroll-padding-top:5.5rem}body{margin:0;background:#f5f6f8}"
    "@media print{body{background:#fff}}"
)
"""What the page adds outside its own element; a notebook is left as it is."""


def page(*, title: str, lead: str, sections: Sequence[Section], charts: Sequence[Chart]) -> str:
    """Return the whole document. Its content policy forbids it to load anything."""
    anchors = _anchors(sections)
    links = "".join(
        f'<a href="#{anchor}">{escape(section.title)}</a>'
        for section, anchor in zip(sections, anchors, strict=True)
    )
    body = "".join(
        section_html(section, anchor=anchor, live=True)
        for section, anchor in zip(sections, anchors, strict=True)
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<link rel="icon" href="data:,">\n'
        f"<style>{AROUND}\n{_resource('_page.css')}</style>\n</head>\n<body>\n"
        f'<main class="gengap page"><header class="masthead"><h1>{escape(title)}</h1>'
        f'<div class="lead">{paragraphs(lead)}</div>'
        f'<nav aria-label="Contents">{links}</nav></header>\n{body}\n'
        f"<footer>Made with gengap {metadata.version('gengap')}. One file, complete offline."
        f"</footer></main>\n{_scripts(charts)}</body>\n</html>\n"
    )


def fragment(*, title: str, lead: str, sections: Sequence[Section]) -> str:
    """Return the report as a piece of HTML without scripts."""
    anchors = _anchors(sections)
    body = "".join(
        section_html(section, anchor=f"gengap-{anchor}", live=False)
        for section, anchor in zip(sections, anchors, strict=True)
    )
    return (
        f'<div class="gengap fragment"><style>{_resource("_page.css")}</style>'
        f"<h1>{escape(title)}</h1>{paragraphs(lead)}{body}</div>"
    )


@cache
def vega_runtime() -> str:
    """Return Vega and Vega-Embed as one script, about 0.9 MB, in a scope of its own."""
    import vl_convert

    bundle = vl_convert.javascript_bundle("window.vegaEmbed=vegaEmbed;")
    bundle = re.sub(r"<(/script|!--)", r"<\\\1", bundle, flags=re.IGNORECASE)
    return f"(()=>{{{bundle}\n}})();"


def _scripts(charts: Sequence[Chart]) -> str:
    content = [
        {"name": chart.name, "vega": chart.vega(), "groups": list(chart.styles), "csv": chart.csv}
        for chart in charts
    ]
    runtime = f"<script>{vega_runtime()}</script>\n" if charts else ""
    return (
        f'<script type="application/json" id="gengap-charts">{script_json(content)}</script>\n'
        f"{runtime}<script>{_resource('_page.js')}</script>\n"
    )


def _anchors(sections: Sequence[Section]) -> list[str]:
    """Return one id for each section, made from its title."""
    found: list[str] = []
    for place, section in enumerate(sections):
        words = re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-") or "section"
        found.append(words if words not in found else f"{words}-{place + 1}")
    return found


@cache
def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
