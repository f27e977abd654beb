"""The command that makes a report again."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import final

from ._specification import copyable


@final
@dataclass(frozen=True, kw_only=True)
class Command:
    """A command line, shown with a button that copies it.

    Attributes:
        line: The command as one string, or its arguments, which are then quoted.
    """

    line: str | Sequence[str]

    @property
    def text(self) -> str:
        """The command as one string."""
        return self.line if isinstance(self.line, str) else shlex.join(self.line)

    def html(self) -> str:
        """Return the command as part of a page."""
        return f'<div class="command">{copyable(escape(self.text))}</div>'
