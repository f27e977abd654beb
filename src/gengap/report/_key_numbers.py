"""Key numbers: the few values that a reader should leave with."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import final


@final
@dataclass(frozen=True, kw_only=True)
class KeyNumbers:
    """A row of large numbers, each with what it is.

    Attributes:
        numbers: (value as written, what it is), three to five of them.
    """

    numbers: Sequence[tuple[str, str]]

    def html(self) -> str:
        """Return the numbers as part of a page."""
        cells = "".join(
            f"<div><dd>{escape(value)}</dd><dt>{escape(label)}</dt></div>"
            for value, label in self.numbers
        )
        return f'<dl class="numbers">{cells}</dl>'
