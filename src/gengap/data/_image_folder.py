"""A folder of class folders of images, decoded when they are asked for."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gengap._errors import DataError

from ._dataset_source import fits
from ._pictures import Mode, common_mode, mode_of, pixels
from ._reading import Examples, Reading
from ._source import Source

_SUFFIXES = frozenset((
    ".png",
    ".jpg",
    ".jpeg",
    ".bmp",
    ".gif",
    ".webp",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
))


@final
class ImageFolderSource(Source):
    """Image files, decoded when they are asked for.

    Every header is read once, at the start: one grey image a file if all are grey, else colour.
    Images of 16 bits, divided by 65535, and of floats are one channel of floats.

    Attributes:
        files: The image files, in order.
        mode: "L" (grey) or "RGB", unsigned bytes; "I;16" or "F", floats.
        resize: Height and width to bring images to: scaled to cover it, then cut around the
            centre. None requires equal sizes.
    """

    def __init__(
        self, files: list[Path], *, root: Path, resize: tuple[int, int] | None = None
    ) -> None:
        self.files = files
        self.root = root
        self.resize = resize
        headers = [_header(file) for file in files]
        modes = [mode for mode, _ in headers]
        self.mode: Mode = common_mode(modes, lambda index: f"`{files[index]}`")
        size = resize or headers[0][1]
        for file, (_, found) in zip(files, headers, strict=True):
            if resize is None and found != size:
                raise DataError(
                    f"`{file}` must be {size[0]}x{size[1]} (height x width) like the first image; "
                    f"got {found[0]}x{found[1]}. Give `size=` to bring all to one size."
                )
        self.shape = (len(files), 3 if self.mode == "RGB" else 1, *size)
        self.dtype = torch.float32 if self.mode in ("I;16", "F") else torch.uint8
        self._fingerprint = ""

    def gather(self, indices: Tensor) -> Tensor:
        """Return the decoded images at `indices`, with as many threads as torch."""
        batch = torch.empty((len(indices), *self.shape[1:]), dtype=self.dtype)
        rows = batch.numpy()

        def decode(row: int, index: int) -> None:
            rows[row] = self._decoded(self.files[index])

        threads = torch.get_num_threads()
        if threads == 1 or len(indices) < 2:
            for row, index in enumerate(indices.tolist()):
                decode(row, index)
        else:  # Pillow decodes without Python's lock
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(decode, range(len(indices)), indices.tolist()))
        return batch

    def _decoded(self, file: Path) -> np.ndarray:
        height, width = self.shape[2:]
        try:
            with Image.open(file) as image:
                found = pixels(image, self.mode, size=self.resize)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"`{file}` must be a whole image; got {error}.") from None
        if found.shape[1:] != (height, width):
            raise DataError(
                f"`{file}` must be {height}x{width} as it was at the start; got "
                f"{found.shape[1]}x{found.shape[2]}."
            )
        if self.mode == "F" and not np.isfinite(found).all():
            raise DataError(f"`{file}` must be finite; got NaN or infinite values.")
        return found

    def fingerprint(self) -> str:
        """Return a hash of names and bytes of all files; read once, then kept."""
        if not self._fingerprint:
            digest = hashlib.blake2b(repr((self.mode, self.resize)).encode(), digest_size=16)
            for file in self.files:
                content = hashlib.blake2b(file.read_bytes(), digest_size=16)
                digest.update(f"{file.relative_to(self.root).as_posix()}\x1f".encode())
                digest.update(content.digest())
            self._fingerprint = digest.hexdigest()
        return self._fingerprint


def _header(file: Path) -> tuple[str, tuple[int, int]]:
    """Return the mode to read in and (height, width), without decoding."""
    try:
        with Image.open(file) as image:
            return mode_of(image), (image.height, image.width)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"`{file}` must be an image; got {error}.") from None


def read_folder(folder: Path, reading: Reading, *, where: str) -> Examples:
    """Read a folder with one folder a class; images may lie deeper inside it."""
    classes = sorted(
        entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."
    )
    files: list[Path] = []
    labels: list[str] = []
    for name in classes:
        images = sorted(
            file
            for file in (folder / name).rglob("*")
            if file.suffix.lower() in _SUFFIXES and file.name[0] != "." and file.is_file()
        )
        if not images:
            raise DataError(f"`{folder / name}` must hold images; it holds none.")
        files += images
        labels += [name] * len(images)
    if not files:
        raise DataError(
            f"`{folder}` must hold one folder of images a class; it holds no folder with images."
        )
    source = ImageFolderSource(files, root=folder, resize=reading.size_pair)
    inputs = source.gather(torch.arange(len(files))) if fits(source, reading.in_memory) else source
    return Examples(
        inputs=inputs,
        targets=np.array(labels),
        class_names=tuple(classes),
        files=np.array([file.relative_to(folder).as_posix() for file in files]),
        where=where,
    )
