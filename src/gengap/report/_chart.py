"""Charts: a Vega-Lite specification with the data it draws."""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, final

import pandas as pd

from ._files import check_file_name, write_file
from ._look import Style, config, legend_columns
from ._marks import WIDTH


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Chart:
    """A drawing, its data and the groups that take part in a page's choice.

    Every chart has the Vega parameter `chosen`: None, or the name of the group that stays in full
    color while the others fade. A chart of your own takes part if its data hold the group in a
    column `group` and its opacity asks for `chosen === null || datum.group === chosen`.

    Attributes:
        name: Name of its files: letters, digits, hyphens and underscores.
        chart: An Altair chart, or a Vega-Lite specification as a dict.
        data: What is drawn, as written to NAME.csv.
        title: Heading.
        caption: What the reader has to know: what is averaged, what the band is.
        styles: Groups of the chart in their order, each with its style. A page that knows them
            shows them as buttons in place of the legend.
    """

    name: str
    chart: Any
    data: pd.DataFrame
    title: str = ""
    caption: str = ""
    styles: Mapping[str, Style] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_file_name(self.name)

    def spec(self) -> dict[str, Any]:
        """Return the whole Vega-Lite specification, with the house look and `chosen`."""
        raw = self.chart if isinstance(self.chart, dict) else self.chart.to_dict()
        spec = copy.deepcopy(raw)
        own = spec.get("config", {})
        spec["config"] = {**own, **config()}
        spec["config"]["legend"] |= own.get("legend", {})
        if self.styles:
            columns = legend_columns([str(name) for name in self.styles], width=_width(spec))
            spec["config"]["legend"].setdefault("columns", columns)
        parameters = spec.setdefault("params", [])
        if not any(parameter["name"] == "chosen" for parameter in parameters):
            parameters.insert(0, {"name": "chosen", "value": None})
        if self.title:
            spec.setdefault("title", self.title)
            spec.setdefault("description", self.title)
        return spec

    def vega(self) -> dict[str, Any]:
        """Return the Vega specification for a page: as wide as its place, legend left to it."""
        import vl_convert

        spec = self.spec()
        spec.pop("title", None)
        if self.styles:
            spec["config"]["legend"] = {"disable": True}
        if "layer" in spec or "mark" in spec:
            spec["width"] = "container"
        return vl_convert.vegalite_to_vega(spec)

    @cached_property
    def svg(self) -> str:
        """The chart as SVG."""
        import vl_convert

        return vl_convert.vegalite_to_svg(self.spec())

    @cached_property
    def png(self) -> bytes:
        """The chart as PNG, two pixels for one of the SVG."""
        import vl_convert

        return vl_convert.svg_to_png(self.svg, scale=2)

    @property
    def csv(self) -> str:
        """The data drawn as CSV, unrounded."""
        return self.data.to_csv(index=False, lineterminator="\n")

    def save(self, folder: str | Path) -> list[Path]:
        """Write NAME.svg, NAME.png and NAME.csv into `folder` and return their paths."""
        stem = Path(folder) / self.name
        return [
            write_file(stem.with_suffix(".svg"), self.svg),
            write_file(stem.with_suffix(".png"), self.png),
            write_file(stem.with_suffix(".csv"), self.csv),
        ]

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return {"image/svg+xml": self.svg, "text/plain": f"Chart({json.dumps(self.name)})"}


def _width(spec: dict[str, Any]) -> float:
    width = spec.get("width")
    return width if isinstance(width, (int, float)) else WIDTH
