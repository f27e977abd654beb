"""Text from outside made harmless inside a page."""

import json
from html import escape
from re import sub


def inline(text: str) -> str:
    """Escape a line of prose; `code` between backticks is set as code."""
    return sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def paragraphs(text: str) -> str:
    """Escape prose; blank lines part paragraphs."""
    parts = (part.strip() for part in text.split("\n\n"))
    return "".join(f"<p>{inline(part)}</p>" for part in parts if part)


def script_json(value: object) -> str:
    """Write JSON that cannot end the script element around it."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
