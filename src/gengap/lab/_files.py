"""A folder of files, local or any fsspec address, written whole or not at all."""

import contextlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec

from gengap._errors import StoreError

_PART = ".part"


class Files:
    """A folder of files, local or any fsspec address, written whole or not at all.

    Attributes:
        root: Path of the folder within its file system.
        local: The folder as a local path, or None.
    """

    def __init__(self, address: str | os.PathLike[str]) -> None:
        try:
            self._fs, self.root = fsspec.core.url_to_fs(os.fspath(address))
        except (ImportError, ValueError) as error:
            raise StoreError(f"The store `{address}` cannot be opened: {error}.") from error
        self.local = Path(self.root) if "file" in _protocols(self._fs) else None
        if self.local and self.local.exists() and not self.local.is_dir():
            raise StoreError(f"A store must be a folder; `{address}` is a file. Name another.")

    def path(self, name: str) -> str:
        """Return the full path of a file."""
        return f"{self.root}/{name}"

    def exists(self, name: str) -> bool:
        """Return whether a file or folder is there."""
        if self.local:
            return os.path.exists(self.path(name))  # noqa: PTH110 (four times as fast)
        return bool(self._fs.exists(self.path(name)))

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted; none where there is no folder."""
        with self._explained("read", folder), contextlib.suppress(FileNotFoundError):
            if self.local:
                with os.scandir(self.path(folder)) as entries:
                    return sorted(entry.name for entry in entries)
            found = self._fs.ls(self.path(folder), detail=False)
            return sorted(str(path).rstrip("/").rsplit("/", 1)[-1] for path in found)
        return []

    def stamp(self, name: str) -> str | None:
        """Return what changes when a file does, or None where there is none."""
        with self._explained("read", name), contextlib.suppress(FileNotFoundError):
            if self.local:
                stat = os.stat(self.path(name))  # noqa: PTH116 (four times as fast)
                return f"{stat.st_mtime_ns}-{stat.st_size}"
            info = self._fs.info(self.path(name))
            return str([info.get(k) for k in ("mtime", "LastModified", "etag", "ETag", "size")])
        return None

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        with self._explained("read", name):
            if self.local:
                with open(self.path(name), "rb") as file:  # noqa: PTH123 (twice as fast)
                    return file.read()
            return bytes(self._fs.cat_file(self.path(name)))

    def read_json(self, name: str) -> Any:
        """Return the content of a JSON file."""
        content = self.read(name)
        try:
            return json.loads(content)
        except ValueError as error:
            raise StoreError(
                f"`{self.path(name)}` must be whole JSON; it is cut off or was edited ({error})."
            ) from error

    def write(self, name: str, content: bytes) -> None:
        """Write a file so that others see the old one or the new one, never a part."""
        path = self.path(name)
        with self._explained("write", name):
            self._fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            if not self.local:
                self._fs.pipe_file(path, content)
                return
            part = f"{path}.{uuid.uuid4().hex[:8]}{_PART}"
            try:
                with Path(part).open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                Path(part).replace(path)
            finally:
                Path(part).unlink(missing_ok=True)

    def write_json(self, name: str, content: object) -> None:
        """Write plain data as JSON."""
        text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False)
        self.write(name, text.encode() + b"\n")

    def remove(self, name: str) -> None:
        """Remove a file or folder, if it is there."""
        with self._explained("remove", name), contextlib.suppress(FileNotFoundError):
            self._fs.rm(self.path(name), recursive=True)

    def sweep(self, folder: str, *, age: float = 0.0) -> None:
        """Remove what killed processes left half-written in a folder, `age` seconds ago or more."""
        if self.local is None:
            return
        for name in self.names(folder):
            if name.endswith(_PART):
                path = self.local / folder / name
                with contextlib.suppress(OSError):
                    if time.time() - path.stat().st_mtime >= age:
                        path.unlink()

    @contextlib.contextmanager
    def _explained(self, verb: str, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise StoreError(f"`{self.path(name)}` cannot be {_done(verb)}: {reason}.") from error


def _done(verb: str) -> str:
    return {"read": "read", "write": "written", "remove": "removed"}[verb]


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)
