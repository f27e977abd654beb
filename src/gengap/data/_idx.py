"""The idx format of MNIST: a magic number, sizes, unsigned bytes."""

import gzip
import io
import zlib
from pathlib import Path

import numpy as np

from gengap._errors import DataError

_MAX_DEFLATE_RATIO = 1032  # no deflate stream expands more than this


def read_idx(path: Path, *, shape: tuple[int, ...], content: bytes | None = None) -> np.ndarray:
    """Read a gzipped idx file of unsigned bytes, strictly.

    The magic number and every size are compared with what is expected before anything of that
    size is allocated; nothing may be missing and nothing may follow.

    Args:
        path: The file; also names it in errors.
        shape: The sizes it must have.
        content: The file's bytes, if they have been read already.

    Returns:
        An array of unsigned bytes of that shape.

    Raises:
        DataError: If the file is not a gzipped idx file of that shape.
    """
    if content is None:
        content = path.read_bytes()
    size = int(np.prod(shape))
    if size > _MAX_DEFLATE_RATIO * len(content):
        raise DataError(
            f"`{path}` must hold {size} bytes when unpacked; got a file of {len(content)} bytes, "
            "which cannot."
        )
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            _check_header(path, stream.read(4 + 4 * len(shape)), shape)
            data = stream.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"`{path}` must be a whole gzip file; got an error: {error}.") from None
    if len(data) != size:
        found = f"only {len(data)}" if len(data) < size else "more"
        raise DataError(f"`{path}` must hold {size} bytes after its header; got {found}.")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _check_header(path: Path, header: bytes, shape: tuple[int, ...]) -> None:
    """Compare magic number and sizes: big-endian, 0, 0, type 8 (unsigned byte), axes."""
    magic = bytes([0, 0, 8, len(shape)])
    if header[:4] != magic:
        raise DataError(
            f"`{path}` must start with the idx magic number {magic.hex()}; got "
            f"{header[:4].hex() or 'an empty file'}."
        )
    found = tuple(int(n) for n in np.frombuffer(header[4 : len(header) // 4 * 4], ">u4"))
    if found != shape:
        raise DataError(f"`{path}` must have the sizes {shape}; got {found}.")
