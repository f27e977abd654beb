"""Labels read from a file, such as those given by human annotators."""

import csv
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch

from gengap._errors import DataError
from gengap.data import Split

from ._corruption import Corruption
from ._new_labels import is_spared, num_label_classes, with_labels

_KINDS = (".npy", ".npz", ".csv", ".txt")
_UNREADABLE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, csv.Error)


@final
@dataclass(frozen=True, kw_only=True)
class LabelsFromFile(Corruption):
    """Replace the labels by those in a file: one whole number an example, in the split's order.

    For human noise, and for the output of other programs. Nothing is drawn. Files that hold
    pickled objects are refused, never loaded.

    Attributes:
        path: A .npy or .npz array, a .csv table, or a .txt file with one label a line.
        key: Name of the array in an .npz, or of the column in a .csv that starts with names;
            not needed where there is only one.
        test_labels: Change the labels of a test half too, to those of this file.
    """

    path: str
    key: str | None = None
    test_labels: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", os.fspath(self.path))
        if Path(self.path).suffix.lower() not in _KINDS:
            raise ValueError(f"`path` must end in one of {', '.join(_KINDS)}; got {self.path!r}.")
        if self.key is not None and Path(self.path).suffix.lower() not in (".npz", ".csv"):
            raise ValueError(f"`key` goes with .npz and .csv files only; got {self.path!r}.")

    def __call__(self, split: Split, /, *, seed: int) -> Split:
        """Return the split with the labels of the file; the seed plays no part."""
        num_classes = num_label_classes(split, corruption="LabelsFromFile")
        if is_spared(split, test_labels=self.test_labels):
            return split
        labels = self.read()
        if labels.shape != (len(split),):
            raise DataError(
                f"{self.path} must hold {len(split)} labels, one for each example of "
                f"`{split.name}`; got an array of shape {labels.shape}."
            )
        if labels.dtype.kind not in "iufb" or not np.array_equal(labels, np.floor(labels)):
            raise DataError(f"{self.path} must hold whole numbers; got {labels.dtype} values.")
        low, high = labels.min(), labels.max()
        if low < 0 or high >= num_classes:
            raise DataError(
                f"{self.path} must hold labels in 0..{num_classes - 1}; got "
                f"{low if low < 0 else high}."
            )
        return with_labels(split, torch.from_numpy(labels.astype(np.int64)))

    def read(self) -> np.ndarray:
        """Return what stands in the file, before it is known to be labels of a split.

        Raises:
            DataError: The file cannot be read.
        """
        return _read(Path(self.path), self.key)


def _read(path: Path, key: str | None) -> np.ndarray:
    """Return the array in a file, or say what is wrong with the file."""
    try:
        if path.suffix.lower() in (".csv", ".txt"):
            return _from_text(path, key)
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            return loaded[_chosen(path, key, list(loaded.files))]
    except _UNREADABLE as error:
        raise DataError(f"{path} cannot be read as labels: {error}") from None


def _from_text(path: Path, key: str | None) -> np.ndarray:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file) if row]
    column = 0
    if rows and path.suffix.lower() == ".csv" and not _is_number(rows[0][0]):
        names = [name.strip() for name in rows.pop(0)]
        column = names.index(_chosen(path, key, names))
    elif key is not None:
        raise DataError(f"{path} must start with the names of its columns for `key`={key!r}.")
    elif rows and len(rows[0]) > 1:
        raise DataError(f"{path} must have one column, or names and a `key`; got {len(rows[0])}.")
    if any(len(row) <= column for row in rows):
        raise DataError(f"{path} must have rows of equal length; got a shorter one.")
    return np.array([float(row[column]) for row in rows])


def _chosen(path: Path, key: str | None, names: list[str]) -> str:
    if key is None and len(names) == 1:
        return names[0]
    if key not in names:
        raise DataError(f"{path} holds {', '.join(names)}; `key` must be one; got {key!r}.")
    return key


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
