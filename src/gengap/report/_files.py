"""Files of a report, written whole or not at all."""

import os
import re
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from gengap._errors import StoreError


def write_file(path: Path, content: str | bytes) -> Path:
    """Write a file atomically, making its folder; text is UTF-8 with newlines kept.

    Raises:
        StoreError: If the folder cannot be written or the disk is full.
    """
    data = content.encode() if isinstance(content, str) else content
    partial = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        os.replace(partial, path)  # noqa: PTH105
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        reason = error.strerror or type(error).__name__
        raise StoreError(f"`{path}` must be a file that can be written; got: {reason}.") from error
    return path


def check_file_name(value: str) -> None:
    """Require a name that is a plain file name on every system."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", value):
        raise ValueError(f"`name` must be letters, digits, hyphens and underscores; got {value!r}.")
