"""Official files, checked against the table: size first, then MD5."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import final

from gengap._errors import DataError

from ._built_in import BuiltIn, DataFile, built_in
from ._root import find_folder


@final
@dataclass(frozen=True, kw_only=True)
class FileCheck:
    """What the check of one file found.

    Attributes:
        file: The file's path, or what stands for it.
        ok: Whether it is there, whole and unaltered.
        detail: One phrase: "ok", or what is wrong.
    """

    file: str
    ok: bool
    detail: str


def problem_with(path: Path, file: DataFile) -> str:
    """Return what is wrong with a file, in one phrase, or "" if nothing is."""
    if not path.is_file():
        return "is missing"
    size = path.stat().st_size
    if size != file.num_bytes:
        return f"must have {file.num_bytes} bytes; got {size}"
    with path.open("rb") as stream:
        md5 = hashlib.file_digest(stream, "md5").hexdigest()
    return "" if md5 == file.md5 else f"must have the MD5 {file.md5}; got {md5}"


def read_checked(path: Path, file: DataFile, *, name: str) -> bytes:
    """Return a file's bytes after checking size and MD5.

    Raises:
        DataError: If the file is missing, truncated, oversized or altered.
    """
    repair = f"Delete it and run: gengap data get {name}"
    if not path.is_file():
        raise DataError(f"`{path}` must exist; it does not. Run: gengap data get {name}")
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size == file.num_bytes else b""
    except OSError as error:
        raise DataError(f"`{path}` must be readable; got {error}.") from None
    if len(content) != file.num_bytes:
        raise DataError(f"`{path}` must have {file.num_bytes} bytes; got {size}. {repair}")
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 != file.md5:
        raise DataError(f"`{path}` must have the MD5 {file.md5}; got {md5}. {repair}")
    return content


def verify(name: str, *, root: str | Path | None = None) -> list[FileCheck]:
    """Check every file of a built-in data set: is it there, whole and unaltered?

    Args:
        name: One of `gengap.data.names()`.
        root: The folder that holds the data sets' folders; by default `$GENGAP_DATA`, then the
            user's cache.

    Returns:
        One row a file.
    """
    entry: BuiltIn = built_in(name)
    if not entry.files:
        return [FileCheck(file=f"{name} (inside scikit-learn)", ok=True, detail="ok")]
    folder = find_folder(entry.folder, root=root)
    rows = []
    for file in entry.files:
        problem = problem_with(folder / file.name, file)
        rows.append(FileCheck(file=str(folder / file.name), ok=not problem, detail=problem or "ok"))
    return rows
