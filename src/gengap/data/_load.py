"""The built-in data sets, as splits."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch

from gengap._errors import DataError

from ._built_in import BuiltIn, built_in
from ._checksum import read_checked
from ._cifar import read_cifar_batch
from ._idx import read_idx
from ._partition import partition
from ._root import find_folder, roots
from ._split import Split

Arrays = tuple[np.ndarray, np.ndarray]


def load(name: str, *, root: str | Path | None = None) -> tuple[Split, Split]:
    """Load a built-in data set.

    `digits` comes with scikit-learn and needs no files. The others are read from their official
    files, whose sizes and checksums are checked on every call.

    Args:
        name: One of `gengap.data.names()`.
        root: The folder that holds the data sets' folders; by default `$GENGAP_DATA`, then the
            user's cache.

    Returns:
        The train and the test split: unsigned bytes (channels, height, width).

    Raises:
        DataError: If a file is missing, truncated, oversized or altered.
        ValueError: If there is no such data set.

    Examples:
        >>> train, test = load("digits")
        >>> len(train), len(test), train.input_shape
        (1437, 360, (1, 8, 8))
    """
    entry = built_in(name)
    if name == "digits":
        train, test = _digits(entry)
    else:
        folder = find_folder(entry.folder, root=root)
        if not folder.is_dir():
            places = " or ".join(f"`{place}`" for place in roots(root))
            raise DataError(
                f"`{entry.folder}` must be a folder in {places}; there is none. Run: gengap data "
                f"get {name}"
            )
        train, test = _cifar(entry, folder) if name == "cifar-10" else _mnist(entry, folder)
    return _split(entry, train, "train"), _split(entry, test, "test")


def _split(entry: BuiltIn, arrays: Arrays, half: Literal["train", "test"]) -> Split:
    return Split(
        inputs=torch.from_numpy(arrays[0]),
        targets=torch.from_numpy(arrays[1].astype(np.int64)),
        num_classes=len(entry.class_names),
        half=half,
        name=entry.name,
        class_names=entry.class_names,
        preprocessing=entry.preprocessing,
    )


def _digits(entry: BuiltIn) -> tuple[Arrays, Arrays]:
    """Divide scikit-learn's digits into 1,437 and 360, each digit in its proportion."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = bunch.images.astype(np.uint8)[:, None]
    train, test = partition(bunch.target, num_test=entry.num_test, seed=0)
    return (images[train], bunch.target[train]), (images[test], bunch.target[test])


def _mnist(entry: BuiltIn, folder: Path) -> tuple[Arrays, Arrays]:
    def read(index: int, shape: tuple[int, ...]) -> np.ndarray:
        file = entry.files[index]
        path = folder / file.name
        content = read_checked(path, file, name=entry.name)
        return read_idx(path, shape=shape, content=content).copy()

    halves = []
    for start, n in ((0, entry.num_train), (2, entry.num_test)):
        images = read(start, (n, *entry.shape[1:]))[:, None]
        halves.append((images, read(start + 1, (n,))))
    return halves[0], halves[1]


def _cifar(entry: BuiltIn, folder: Path) -> tuple[Arrays, Arrays]:
    images = np.empty((entry.num_train + entry.num_test, *entry.shape), np.uint8)
    labels = np.empty(len(images), np.uint8)
    rows = len(images) // len(entry.files)
    for index, file in enumerate(entry.files):
        path = folder / file.name
        content = read_checked(path, file, name=entry.name)
        window = slice(index * rows, (index + 1) * rows)
        images[window], labels[window] = read_cifar_batch(
            path, num_examples=rows, num_classes=len(entry.class_names), content=content
        )
    n = entry.num_train
    return (images[:n], labels[:n]), (images[n:].copy(), labels[n:])
