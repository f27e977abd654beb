"""Tables: one frame as HTML, Markdown, LaTeX and CSV."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import final

import pandas as pd

from ._escaping import inline
from ._files import check_file_name, write_file
from ._latex import latex_table
from ._measured import Format, Measured, is_missing, is_number, write_value


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """A frame with the way its columns are written.

    Columns of numbers are aligned to the right. A cell may hold a `Measured`, shown as mean ±
    spread and stored in three columns of the CSV.

    Attributes:
        name: Name of its files: letters, digits, hyphens and underscores.
        frame: One row a line; the index is not shown.
        title: Heading above the table.
        caption: What the reader has to know: units, number of repetitions.
        formats: Column to Python format code (".1%", ".3g", ",d") or function of the value.
        group: Column whose value takes part in the choice on a page: choosing a group in a chart
            marks its row, and choosing the row marks the group in every chart.
    """

    name: str
    frame: pd.DataFrame
    title: str = ""
    caption: str = ""
    formats: Mapping[str, Format] = field(default_factory=dict)
    group: str | None = None

    def __post_init__(self) -> None:
        check_file_name(self.name)
        columns = list(self.frame.columns)
        wanted = [*self.formats, *([] if self.group is None else [self.group])]
        for column in wanted:
            if column not in columns:
                raise ValueError(f"`frame` must have a column {column!r}; got {columns}.")

    def cells(self) -> list[list[str]]:
        """Return every cell as text, one list a row."""
        forms = [self.formats.get(column) for column in self.frame.columns]
        return [
            [write_value(value, form) for value, form in zip(row, forms, strict=True)]
            for row in self.frame.itertuples(index=False, name=None)
        ]

    def numeric(self) -> list[bool]:
        """Say for each column whether it holds numbers only."""
        columns = (self.frame.iloc[:, place] for place in range(self.frame.shape[1]))
        kept = ([value for value in column if not is_missing(value)] for column in columns)
        return [bool(values) and all(map(is_number, values)) for values in kept]

    def html(self) -> str:
        """Return the table as a figure of a page, everything escaped."""
        return table_html(
            self.frame,
            title=self.title,
            caption=self.caption,
            formats=self.formats,
            group=self.group,
        )

    def to_markdown(self) -> str:
        """Return the table in Markdown, numbers aligned to the right."""
        rows = [[str(column) for column in self.frame.columns], *self.cells()]
        rows = [[escape_markdown(cell) for cell in row] for row in rows]
        rule = ["---:" if right else "---" for right in self.numeric()]
        return "".join(f"| {' | '.join(row)} |\n" for row in (rows[0], rule, *rows[1:]))

    def to_latex(self) -> str:
        """Return the table as a LaTeX `tabular` with the rules of booktabs."""
        names = [str(column) for column in self.frame.columns]
        return latex_table(names, self.cells(), self.numeric())

    def to_csv(self) -> str:
        """Return the values unrounded; a column of `Measured` becomes mean, spread and count."""
        flat: dict[str, list[object]] = {}
        for place, column in enumerate(map(str, self.frame.columns)):
            values = list(self.frame.iloc[:, place])
            if not any(isinstance(value, Measured) for value in values):
                flat[column] = values
                continue
            full = [
                value if isinstance(value, Measured) else _as_measured(value) for value in values
            ]
            flat[column] = [value.mean for value in full]
            flat[f"{column} spread"] = [value.spread for value in full]
            flat[f"{column} count"] = [value.count for value in full]
        return pd.DataFrame(flat).to_csv(index=False, lineterminator="\n")

    def save(self, folder: str | Path) -> list[Path]:
        """Write NAME.csv and NAME.md into `folder` and return their paths."""
        stem = Path(folder) / self.name
        return [
            write_file(stem.with_suffix(".csv"), self.to_csv()),
            write_file(stem.with_suffix(".md"), self.to_markdown()),
        ]

    def _repr_html_(self) -> str:
        return self.html()


def table_html(
    frame: pd.DataFrame,
    *,
    title: str = "",
    caption: str = "",
    formats: Mapping[str, Format] | None = None,
    group: str | None = None,
) -> str:
    """Return a frame as an HTML figure, everything escaped; the arguments are those of `Table`."""
    table = Table(name="table", frame=frame, formats=formats or {}, group=group)
    kinds = [' class="number"' if right else "" for right in table.numeric()]
    head = "".join(
        f'<th scope="col"{kind}>{escape(str(column))}</th>'
        for column, kind in zip(frame.columns, kinds, strict=True)
    )
    names = [None] * len(frame) if group is None else list(frame[group])
    body = "".join(
        f"<tr{_group_attribute(name)}>{_row(cells, kinds)}</tr>"
        for name, cells in zip(names, table.cells(), strict=True)
    )
    heading = f"<h3>{inline(title)}</h3>" if title else ""
    below = f"<figcaption>{inline(caption)}</figcaption>" if caption else ""
    return (
        f'<figure class="table">{heading}<div class="scroll" tabindex="0"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{below}</figure>"
    )


def escape_markdown(cell: str) -> str:
    """Keep a cell from ending its column or opening a tag."""
    return escape(cell, quote=False).replace("|", "\\|").replace("\n", " ")


def _row(cells: list[str], kinds: list[str]) -> str:
    first, *rest = [
        f"<td{kind}>{escape(cell)}</td>" for cell, kind in zip(cells, kinds, strict=True)
    ] or [""]
    head = first.replace("<td", '<th scope="row"', 1).replace("</td>", "</th>")
    return head + "".join(rest)


def _group_attribute(name: object) -> str:
    return "" if name is None else f' data-group="{escape(str(name))}"'


def _as_measured(value: object) -> Measured:
    if is_missing(value):
        return Measured(mean=float("nan"), count=0)
    return Measured(mean=float(value))  # type: ignore[arg-type]
