"""Sections: a heading over text, claims, charts, tables and the rest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from ._chart import Chart
from ._claim import Claim
from ._command import Command
from ._gallery import Gallery
from ._key_numbers import KeyNumbers
from ._look import Style
from ._specification import Specification
from ._table import Table

Item = str | Claim | Chart | Command | Gallery | KeyNumbers | Specification | Table


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Section:
    """A part of a report.

    Attributes:
        title: Heading; also the entry in the page's contents.
        items: What stands under it, in order: strings, Claims, Charts, Tables, Galleries,
            KeyNumbers, Specifications and Commands. A string is prose: escaped, blank lines part
            paragraphs, `code` between backticks. Claims and charts that follow each other are
            laid out together.
        lead: Prose under the heading.
    """

    title: str
    items: Sequence[Item]
    lead: str = ""

    def __post_init__(self) -> None:
        for item in self.items:
            if not isinstance(item, Item):
                raise TypeError(
                    "`items` must be strings, Claims, Charts, Tables, Galleries, KeyNumbers, "
                    f"Specifications or Commands; got {type(item).__name__}."
                )
        _ = self.styles

    @property
    def styles(self) -> dict[str, Style]:
        """The groups of all charts of the section with their styles."""
        found: dict[str, Style] = {}
        for chart in (item for item in self.items if isinstance(item, Chart)):
            for name, style in chart.styles.items():
                if found.setdefault(name, style) != style:
                    raise ValueError(
                        f"`items` must draw {name!r} alike in all charts of a section; got another "
                        f"style in {chart.name!r}. Pass the same `groups` to every chart."
                    )
        return found
