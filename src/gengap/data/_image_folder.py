"""A folder of class folders of images, decoded when they are asked for."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, final

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from gengap._errors import DataError

from ._dataset_source import fits
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
_GREY = frozenset({"1", "L"})


@final
class ImageFolderSource(Source):
    """Image files, decoded when they are asked for.

    Every header is read once, at the start: one grey image a file if all are grey, else colour.

    Attributes:
        files: The image files, in order.
        mode: "L" (grey) or "RGB".
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
        grey = all(mode in _GREY for mode, _ in headers)
        self.mode: Literal["L", "RGB"] = "L" if grey else "RGB"
        size = resize or headers[0][1]
        for file, (_, found) in zip(files, headers, strict=True):
            if resize is None and found != size:
                raise DataError(
                    f"`{file}` must be {size[0]}x{size[1]} (height x width) like the first image; "
                    f"got {found[0]}x{found[1]}. Give `size=` to bring all to one size."
                )
        self.shape = (len(files), 1 if grey else 3, *size)
        self.dtype = torch.uint8
        self._fingerprint = ""

    def gather(self, indices: Tensor) -> Tensor:
        """Return the decoded images at `indices`, unsigned bytes; with as many threads as torch."""
        batch = np.empty((len(indices), *self.shape[1:]), np.uint8)

        def decode(row: int, index: int) -> None:
            batch[row] = self._decoded(self.files[index])

        threads = torch.get_num_threads()
        if threads == 1 or len(indices) < 2:
            for row, index in enumerate(indices.tolist()):
                decode(row, index)
        else:  # Pillow decodes without Python's lock
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(decode, range(len(indices)), indices.tolist()))
        return torch.from_numpy(batch)

    def _decoded(self, file: Path) -> np.ndarray:
        height, width = self.shape[2:]
        try:
            with Image.open(file) as image:
                picture = image.convert(self.mode)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"`{file}` must be a whole image; got {error}.") from None
        if self.resize is not None:
            picture = ImageOps.fit(picture, (width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(picture)
        if pixels.shape[:2] != (height, width):
            raise DataError(
                f"`{file}` must be {height}x{width} as it was at the start; got "
                f"{pixels.shape[0]}x{pixels.shape[1]}."
            )
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)

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
    """Return mode and (height, width) without decoding."""
    try:
        with Image.open(file) as image:
            return image.mode, (image.height, image.width)
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
        inputs=inputs, targets=np.array(labels), class_names=tuple(classes), where=where
    )
