"""A progress bar on standard error, where somebody is watching."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Advance = Callable[..., None]


@contextmanager
def progress(description: str, *, total: float | None = None) -> Iterator[Advance]:
    """Show a bar while the block runs; silent unless standard error is a terminal.

    Args:
        description: What is going on, in a word or two.
        total: Steps until done; None when nobody knows.

    Yields:
        A function `advance(steps=1, *, completed=None, total=None, description=None)`: moves the
        bar by `steps`, or to `completed`; changes total and description where they are given.

    Example:
        >>> with progress("trials", total=2) as advance:
        ...     advance()
    """
    if not sys.stderr.isatty():
        yield _nothing
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total)

        def advance(
            steps: float = 1,
            *,
            completed: float | None = None,
            total: float | None = None,
            description: str | None = None,
        ) -> None:
            if completed is None:
                bar.update(task, advance=steps, total=total, description=description)
            else:
                bar.update(task, completed=completed, total=total, description=description)

        yield advance


def _nothing(steps: float = 1, **changes: object) -> None:
    """Do nothing."""


@contextmanager
def trial_progress(total: int | None) -> Iterator[Callable[[Any], None]]:
    """Show how many trials of a lab have ended while the block runs.

    Args:
        total: Trials asked for, None where nobody knows; those that were complete before count as
            soon as others move.

    Yields:
        What `Lab.run` takes as `progress`.
    """
    finished: dict[str, int] = {}
    with progress("trials", total=total) as advance:

        def report(news: Any) -> None:
            finished[news.group] = news.finished
            epochs = f"trials (epoch {news.epoch} of at most {news.epochs})"
            advance(completed=sum(finished.values()), description=epochs)

        yield report
