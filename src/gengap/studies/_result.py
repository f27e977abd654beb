"""What a study gives, and its page in a fixed form."""

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from gengap._errors import StoreError
from gengap.report import (
    Chart,
    Claim,
    Command,
    Report,
    Section,
    Specification,
    Table,
    versions,
)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class StudyResult:
    """The claims, tables and figures of a paper, its numbers beside ours.

    Attributes:
        name: Name of the study; letters, digits, hyphens and underscores.
        title: The paper.
        lead: What is repeated, with what.
        claims: Sentences with verdicts, by rules written before the run.
        tables: The paper's tables, its values beside ours.
        charts: The paper's figures.
        deviations: How ours deviates from the paper, a sentence each.
        cost: What the trials took, in a sentence.
        command: The command line that makes it again, or empty.
    """

    name: str
    title: str
    lead: str = ""
    claims: Sequence[Claim] = field(default=(), repr=False)
    tables: Sequence[Table] = field(default=(), repr=False)
    charts: Sequence[Chart] = field(default=(), repr=False)
    deviations: Sequence[str] = field(default=(), repr=False)
    cost: str = ""
    command: str = ""

    @property
    def refuted(self) -> bool:
        """Whether a claim is not supported."""
        return any(claim.verdict == "not supported" for claim in self.claims)

    @property
    def report(self) -> Report:
        """The page as a report, with live charts."""
        made = [Command(line=self.command)] if self.command else []
        sections = [
            Section(title="What the numbers say", items=list(self.claims)),
            Section(title="Tables", items=list(self.tables)),
            *_chart_sections(self.charts),
            Section(title="Deviations from the paper", items=["\n\n".join(self.deviations)]),
            Section(
                title="Made with",
                items=[*made, self.cost, Specification(title="Versions", content=versions())],
            ),
        ]
        return Report(
            title=self.title,
            lead=self.lead,
            sections=[section for section in sections if any(section.items)],
        )

    def _repr_html_(self) -> str:
        return self.report.to_html_fragment()

    def markdown(self, *, command: str = "", charts: str = "charts") -> str:
        """Return the page in Markdown, in the form that all studies share.

        Args:
            command: The command line that makes it again; the result's own by default.
            charts: Folder of the charts, relative to the page.
        """
        parts = [f"# {self.title}", self.lead, "## What the numbers say"]
        parts.append("\n".join(_claim(claim) for claim in self.claims))
        parts.append("## Made with")
        if command or self.command:
            parts.append(f"```sh\n{command or self.command}\n```")
        parts += [self.cost, "## Tables"]
        for table in self.tables:
            parts += [f"### {table.title or table.name}", table.to_markdown(), table.caption]
        parts.append("## Figures")
        for chart in self.charts:
            title = chart.title or chart.name
            parts += [f"![{_plain(title)}]({charts}/{chart.name}.svg)", chart.caption]
        parts += ["## Deviations from the paper", _list(self.deviations), "## Versions"]
        parts.append(_list(f"{name} {value}" for name, value in versions().items()))
        return "\n\n".join(part.strip() for part in _without_empty(parts)) + "\n"

    def save(self, path: str | Path) -> Path:
        """Write report.html, page.md, charts/ and tables/ into a folder; return the report's path.

        Raises:
            StoreError: A file cannot be written.
        """
        folder = Path(path)
        report = self.report.save(folder / "report.html")
        _write(folder / "page.md", self.markdown())
        return report

    def save_page(self, path: str | Path) -> Path:
        """Write a page of the docs, its pictures in a folder beside it that bears its name.

        Raises:
            StoreError: A file cannot be written.
        """
        page = Path(path)
        for chart in self.charts:
            _write(page.parent / page.stem / f"{chart.name}.svg", chart.svg)
        return _write(page, self.markdown(charts=page.stem))


def _chart_sections(charts: Sequence[Chart]) -> list[Section]:
    """Put charts of the same groups together, so that choosing one marks it in all of them."""
    together: dict[tuple[str, ...], list[Chart]] = {}
    for chart in charts:
        together.setdefault(tuple(chart.styles), []).append(chart)
    several = len(together) > 1
    return [
        Section(title=f"Figures, {place}" if several else "Figures", items=items)
        for place, items in enumerate(together.values(), start=1)
    ]


def _claim(claim: Claim) -> str:
    """Return a claim as one entry of a list: verdict, sentence, values, rule."""
    told = "" if claim.ours == "–" or claim.ours in claim.sentence else claim.ours
    values = [("ours", told), ("paper", claim.paper)]
    said = "; ".join(f"{name}: {_plain(text)}" for name, text in values if text)
    tail = f" ({said})" if said else ""
    return (
        f"- **{_plain(claim.name)}: {claim.verdict}.** {_plain(claim.sentence)}{tail}\n"
        f"  *Rule:* {_plain(claim.rule)}"
    )


def _without_empty(parts: Sequence[str]) -> list[str]:
    """Leave out empty parts, and headings under which nothing stands."""
    kept = [part for part in parts if part.strip()]

    def level(part: str) -> int:
        heading = re.match(r"(#+) ", part)
        return len(heading[1]) if heading else 9

    following = [*kept[1:], "# end"]
    pairs = zip(kept, following, strict=True)
    return [part for part, after in pairs if level(part) == 9 or level(after) > level(part)]


def _list(entries: Iterable[str]) -> str:
    return "\n".join(f"- {_plain(entry)}" for entry in entries)


def _plain(text: str) -> str:
    """Keep text from opening a tag, and on one line."""
    return html.escape(" ".join(str(text).split()), quote=False)


def _write(path: Path, content: str) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise StoreError(
            f"`{path}` must be a file that can be written; got: {error.strerror}."
        ) from error
    return path
