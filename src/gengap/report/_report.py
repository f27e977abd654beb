"""Reports: one page with everything, and its charts and tables as files beside it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from gengap._errors import StoreError

from ._chart import Chart
from ._files import write_file
from ._page import fragment, page
from ._section import Item, Section
from ._table import Table


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """A report of sections.

    Attributes:
        title: Heading of the page.
        sections: Its parts in order.
        lead: Prose under the heading: what was asked and what came out.

    Examples:
        >>> section = Section(title="Result", items=["It fits."])
        >>> "It fits." in Report(title="Audit", sections=[section]).to_html()
        True
    """

    title: str
    sections: Sequence[Section]
    lead: str = ""

    def __post_init__(self) -> None:
        for kind in (Chart, Table):
            names = [item.name for item in self.items() if isinstance(item, kind)]
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                raise ValueError(
                    f"`sections` must give every {kind.__name__.lower()} a name of its own; got "
                    f"{twice[0]!r} twice."
                )

    def items(self) -> Iterator[Item]:
        """Go through the items of all sections."""
        for section in self.sections:
            yield from section.items

    def charts(self) -> list[Chart]:
        """Return the charts of all sections."""
        return [item for item in self.items() if isinstance(item, Chart)]

    def tables(self) -> list[Table]:
        """Return the tables of all sections."""
        return [item for item in self.items() if isinstance(item, Table)]

    def to_html(self) -> str:
        """Return the whole page: one document that loads nothing."""
        return page(title=self.title, lead=self.lead, sections=self.sections, charts=self.charts())

    def to_html_fragment(self) -> str:
        """Return a light form without scripts, for notebooks: charts are pictures."""
        return fragment(title=self.title, lead=self.lead, sections=self.sections)

    def save(self, path: str | Path) -> Path:
        """Write the page, and beside it `charts/` and `tables/`.

        Args:
            path: The page's file, such as `report.html`; its folder is made.

        Returns:
            The page's path. Charts are written as NAME.svg, NAME.png and NAME.csv, tables as
            NAME.csv and NAME.md; the page itself is written last.

        Raises:
            StoreError: If a file cannot be written.
        """
        path = Path(path)
        if path.is_dir():
            raise StoreError(f"`path` must be a file such as report.html; got the folder {path}.")
        for chart in self.charts():
            chart.save(path.parent / "charts")
        for table in self.tables():
            table.save(path.parent / "tables")
        return write_file(path, self.to_html())

    def _repr_html_(self) -> str:
        return self.to_html_fragment()
