"""Download of built-in data sets: mirrors in turn, checksums, nothing half-written."""

import hashlib
import logging
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, final

from gengap._errors import DataError

from ._built_in import BuiltIn, DataFile, built_in
from ._checksum import problem_with
from ._root import find_folder, roots

_TIMEOUT = 30
_CHUNK = 2**16


def get(
    name: str,
    *,
    root: str | Path | None = None,
    progress: bool = True,
    mirrors: Sequence[str] | None = None,
) -> Path:
    """Download the files of a built-in data set that are missing or damaged.

    A file is written beside its place under a passing name, checked, and renamed: under its own
    name it is whole or not there. `digits` needs no files, so nothing is done for it.

    Args:
        name: One of `gengap.data.names()`.
        root: The folder that holds the data sets' folders; by default where the data set stands
            already, else `$GENGAP_DATA`, else the user's cache.
        progress: Show a bar on standard error if that is a terminal.
        mirrors: Addresses of folders to try in turn, instead of the official ones.

    Returns:
        The data set's folder.

    Raises:
        DataError: If no mirror gives the right file, or it cannot be written.
    """
    entry = built_in(name)
    if not entry.files:
        return roots(root)[0]
    folder = find_folder(entry.folder, root=root)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _fetch_missing(entry, folder, tuple(mirrors or entry.mirrors), progress=progress)
    except OSError as error:
        raise DataError(f"`{folder}` must be writable and have room; got {error}.") from None
    return folder


def _fetch_missing(
    entry: BuiltIn, folder: Path, mirrors: tuple[str, ...], *, progress: bool
) -> None:
    missing = [file for file in entry.files if problem_with(folder / file.name, file)]
    if not missing:
        return
    if entry.archive is None:
        for file in missing:
            _fetch(file, folder, mirrors, progress=progress)
        return
    archive = folder / entry.archive.name
    try:
        _fetch(entry.archive, folder, mirrors, progress=progress)
        _unpack(archive, missing, folder, inside=entry.folder)
    finally:
        archive.unlink(missing_ok=True)


def _fetch(file: DataFile, folder: Path, mirrors: tuple[str, ...], *, progress: bool) -> None:
    """Fetch one file from the first mirror that has it unaltered."""
    import pooch
    import requests

    failures = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{file.name}"
        try:
            with _bar(file, shown=progress) as advance, _quiet(pooch.get_logger()):
                pooch.retrieve(
                    url,
                    known_hash=f"md5:{file.md5}",
                    fname=file.name,
                    path=folder,
                    downloader=_downloader(file, advance),
                )
        except requests.RequestException as error:
            failures.append(f"{url}: {_first_line(error)}")
        except (ValueError, DataError) as error:
            altered = "MD5" in str(error) or "hash" in str(error)
            failures.append(f"{url}: {'altered, MD5 differs' if altered else _first_line(error)}")
        else:
            (folder / file.name).chmod(0o644)  # passing files are private
            return
    raise DataError(
        f"`{file.name}` must come whole from one of {len(mirrors)} mirrors; got "
        f"{'; '.join(failures)}."
    )


def _first_line(error: Exception) -> str:
    text = str(error).splitlines() or [""]
    return f"{type(error).__name__} {text[0][:100]}".strip()


@final
class _BoundedFile:
    """A file that refuses more bytes than expected and reports what it gets."""

    def __init__(self, stream: IO[bytes], limit: int, advance: Callable[[int], None]) -> None:
        self.stream = stream
        self.left = limit
        self.advance = advance

    def write(self, chunk: bytes) -> None:
        self.left -= len(chunk)
        if self.left < 0:
            raise DataError("more bytes than expected")
        self.stream.write(chunk)
        self.advance(len(chunk))

    def flush(self) -> None:
        self.stream.flush()


def _downloader(
    file: DataFile, advance: Callable[[int], None]
) -> Callable[[str, str, object], None]:
    import pooch

    http = pooch.HTTPDownloader(
        chunk_size=_CHUNK, timeout=_TIMEOUT, headers={"Accept-Encoding": "identity"}
    )

    def download(url: str, target: str, pooch_object: object) -> None:
        with Path(target).open("wb") as stream:
            http(url, _BoundedFile(stream, file.num_bytes, advance), pooch_object)

    return download


@contextmanager
def _bar(file: DataFile, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on a terminal; give the function that moves it."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(
        *columns,
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not (shown and console.is_terminal),
    ) as bar:
        task = bar.add_task(file.name, total=file.num_bytes)
        yield lambda amount: bar.advance(task, amount)


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Keep a logger from reporting what the bar shows already."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _unpack(archive: Path, files: list[DataFile], folder: Path, *, inside: str) -> None:
    """Take the expected files, and nothing else, out of a tar archive."""
    wanted = {f"{inside}/{file.name}": file for file in files}
    try:
        with tarfile.open(archive, "r:*") as tar:
            for member in tar:
                file = wanted.get(member.name.removeprefix("./"))
                if file is None or not member.isreg() or member.size != file.num_bytes:
                    continue
                stream = tar.extractfile(member)
                if stream is not None:
                    _place(stream, file, folder)
                    del wanted[f"{inside}/{file.name}"]
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"`{archive.name}` must be a whole tar archive; got {error}.") from None
    if wanted:
        name, file = next(iter(wanted.items()))
        raise DataError(
            f"`{archive.name}` must hold `{name}` of {file.num_bytes} bytes; it does not."
        )


def _place(stream: IO[bytes], file: DataFile, folder: Path) -> None:
    """Copy a stream to a passing name, check it, and rename it."""
    handle, passing = tempfile.mkstemp(prefix=f".{file.name}.", dir=folder)
    try:
        digest = hashlib.md5(usedforsecurity=False)
        with os.fdopen(handle, "wb") as out:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
                out.write(chunk)
        if digest.hexdigest() != file.md5:
            raise DataError(
                f"`{file.name}` in the archive must have the MD5 {file.md5}; got "
                f"{digest.hexdigest()}."
            )
        Path(passing).chmod(0o644)
        Path(passing).replace(folder / file.name)
    finally:
        Path(passing).unlink(missing_ok=True)
