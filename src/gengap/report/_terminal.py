"""Tables and claims on a terminal."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ._claim import Claim
from ._table import Table

if TYPE_CHECKING:
    from rich.console import Console

_ENDLESS = 100_000
MARKS = {
    "supported": ("✓", "green"),
    "not supported": ("✗", "red"),
    "inconclusive": ("?", "yellow"),
}


def print_table(table: Table, *, console: "Console | None" = None) -> None:
    """Print a table with rich, numbers aligned to the right."""
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    title = Text(table.title) if table.title else None
    grid = Grid(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=0,
        pad_edge=False,
        show_edge=False,
    )
    for column, right in zip(table.frame.columns, table.numeric(), strict=True):
        grid.add_column(Text(str(column)), justify="right" if right else "left", overflow="fold")
    for cells in table.cells():
        grid.add_row(*map(Text, cells))
    out = console or _console()
    out.print(grid)
    if table.caption:
        out.print(Text(table.caption, style="dim"))


def print_claims(claims: Iterable[Claim], *, console: "Console | None" = None) -> None:
    """Print claims with rich: name, verdict and sentence, and the rule beneath."""
    from rich.padding import Padding
    from rich.text import Text

    out = console or _console()
    for claim in claims:
        mark, color = MARKS[claim.verdict]
        head = Text(f"{mark} {claim.name}: {claim.verdict}. ", style=f"bold {color}")
        out.print(head + Text(claim.sentence))
        values = [("paper", claim.paper), ("ours", claim.ours), ("rule", claim.rule)]
        for label, text in values:
            if text:
                line = Text(f"{label}: {text}", style="dim")
                out.print(Padding(line, (0, 0, 0, 2), expand=False))


def _console() -> "Console":
    """Return standard output: as wide as a terminal; for pipes and files, as its lines are."""
    from rich.console import Console

    class Output(Console):
        def on_broken_pipe(self) -> None:
            """Leave it to the command line what to do where nobody reads on."""
            raise BrokenPipeError

    found = Output()
    return found if found.is_terminal or found.is_jupyter else Output(width=_ENDLESS)
