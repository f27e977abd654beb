"""Specifications: nested plain data, readable and copyable."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from html import escape
from typing import Any, final

from ._escaping import inline


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Specification:
    """What was run, as a table to read and JSON to copy.

    Attributes:
        content: Nested mappings, lists, dataclasses and plain values.
        title: Heading above it.
    """

    content: Mapping[str, Any]
    title: str = ""

    def json(self) -> str:
        """Return the specification as JSON; a value that JSON lacks is written as its repr."""
        return json.dumps(_plain(self.content), indent=2, ensure_ascii=False)

    def html(self) -> str:
        """Return the specification as a figure of a page, everything escaped."""
        heading = f"<h3>{inline(self.title)}</h3>" if self.title else ""
        text = escape(self.json())
        return (
            f'<figure class="specification">{heading}{_table(_plain(self.content))}'
            f"<details><summary>As JSON</summary>{copyable(text)}</details></figure>"
        )


def copyable(text: str) -> str:
    """Return escaped text as a block with a button that copies it."""
    button = '<button type="button" class="copy" data-copy>Copy</button>'
    return f'<div class="copyable"><pre tabindex="0">{text}</pre>{button}</div>'


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and value not in {float("inf"), float("-inf")} and value == value:
        return value
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _table(content: Mapping[str, Any]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(key.replace("_", " "))}</th><td>{_value(value)}</td></tr>'
        for key, value in content.items()
    )
    return f'<table class="pairs"><tbody>{rows}</tbody></table>'


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return _table(value) if value else "–"
    if isinstance(value, list) and any(isinstance(entry, (dict, list)) for entry in value):
        rows = _table({str(place + 1): entry for place, entry in enumerate(value)})
        return f"<details><summary>{len(value)} entries</summary>{rows}</details>"
    if isinstance(value, list):
        return ", ".join(map(_value, value)) or "–"
    if value is None:
        return "–"
    return escape(("yes" if value else "no") if isinstance(value, bool) else str(value))
