"""How far it is, on standard error: a bar where somebody is watching, else a line now and then."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, final

Advance = Callable[..., None]
EVERY = 30.0
"""Seconds between two lines where nobody is watching."""


@contextmanager
def progress(description: str, *, total: float | None = None) -> Iterator[Advance]:
    """Show a bar while the block runs; a line every half minute if there is no terminal.

    Args:
        description: What is going on, in a word or two.
        total: Steps until done; None when nobody knows.

    Yields:
        A function `advance(steps=1, *, completed=None, total=None, description=None)`: moves the
        bar by `steps`, or to `completed`; changes total and description where they are given.

    Examples:
        >>> with progress("trials", total=2) as advance:
        ...     advance()
    """
    if not sys.stderr.isatty():
        yield _Lines(description, total)
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


@final
class _Lines:
    """Says how far it is in a line of its own, at most every half minute."""

    def __init__(self, description: str, total: float | None) -> None:
        self.description, self.total = description, total
        self._completed = 0.0
        self._begun = self._said = time.monotonic()

    def __call__(
        self,
        steps: float = 1,
        *,
        completed: float | None = None,
        total: float | None = None,
        description: str | None = None,
    ) -> None:
        self._completed = self._completed + steps if completed is None else completed
        self.total = total if total is not None else self.total
        self.description = description or self.description
        now = time.monotonic()
        if now - self._said >= EVERY:
            self._said = now
            of = "" if self.total is None else f" of {self.total:g}"
            minutes, seconds = divmod(int(now - self._begun), 60)
            said = f"{self._completed:g}{of} {self.description}, {minutes}:{seconds:02}"
            print(f"gengap: {said}", file=sys.stderr, flush=True)


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
