"""What a verb prints on standard output: JSON for programs, columns for people."""

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from typing import TextIO

GAP = "  "

_answer: ContextVar[TextIO | None] = ContextVar("_answer", default=None)


@contextmanager
def json_alone() -> Iterator[None]:
    """Give standard output to `print_json` alone; what anyone else prints goes to standard error.

    A user's network may print, and Ray does when it loses a machine.
    """
    token = _answer.set(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _answer.reset(token)


def print_json(value: object) -> None:
    """Print a value as JSON, and nothing else; what JSON cannot say as the nearest it can.

    Not-a-number and infinities become null, other objects their text.
    """
    text = json.dumps(_plain(value), indent=2, allow_nan=False, ensure_ascii=False)
    print(text, file=_answer.get() or sys.stdout)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    scalar = getattr(value, "item", None)  # of NumPy, pandas and PyTorch
    return _plain(scalar()) if callable(scalar) else str(value)


def print_columns(rows: Sequence[Mapping[str, object]]) -> None:
    """Print rows under their names, numbers to the right, everything else to the left."""
    if not rows:
        return
    names = list(rows[0])
    table = [names, *[[_text(row[name]) for name in names] for row in rows]]
    widths = [max(len(line[i]) for line in table) for i in range(len(names))]
    right = [all(isinstance(row[name], (int, float)) for row in rows) for name in names]
    for line in table:
        cells = [
            cell.rjust(width) if to_the_right else cell.ljust(width)
            for cell, width, to_the_right in zip(line, widths, right, strict=True)
        ]
        print(GAP.join(cells).rstrip())


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else ""
    return "" if value is None else str(value)
