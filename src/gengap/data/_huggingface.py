"""Data sets of the library `datasets`: which columns are inputs and labels, and how they decode."""

from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from gengap._errors import DataError

from ._dataset_source import read_dataset
from ._pictures import common_mode, mode_of, pixels
from ._reading import Examples, Reading

TEST_NAMES = ("test", "val", "valid", "validation")
_LABEL_NAMES = ("label", "labels", "target", "targets", "class", "y")
_ARRAYS = ("Array2D", "Array3D", "Array4D", "List", "Sequence", "LargeList")


def is_table(source: object) -> bool:
    """Return whether something is such a data set, without importing the library."""
    names = ("features", "column_names", "with_format", "select_columns", "__getitem__")
    return not isinstance(source, Mapping) and all(hasattr(source, name) for name in names)


def is_tables(source: object) -> bool:
    """Return whether something is a mapping of such data sets by the name of their split."""
    return isinstance(source, Mapping) and bool(source) and all(map(is_table, source.values()))


def half_tables(source: Mapping[str, Any], where: str) -> tuple[Any, Any] | Any:
    """Return the train and the test half, or the only data set there is."""
    tests = [name for name in TEST_NAMES if name in source]
    if "train" in source and tests:
        return source["train"], source[tests[0]]
    if len(source) == 1:
        return next(iter(source.values()))
    raise DataError(
        f"{where} must have the splits train and test (or val); got {', '.join(source)}. Give one "
        f"of them, such as dataset[{next(iter(source))!r}], or a pair."
    )


def read_table(table: Any, reading: Reading, *, where: str) -> Examples:
    """Read such a data set: one column of images or arrays, one of labels."""
    if (getattr(table, "format", None) or {}).get("type") == "custom":
        raise DataError(
            f"{where} must be without a transform, which hides its columns; give "
            "`dataset.with_format(None)` and say `preprocessing`."
        )
    inputs, label = _columns(table, reading, where)
    names = getattr(table.features[label], "names", None)
    pairs = _Pairs(table, inputs, label, reading=reading, where=where)
    known = replace(reading, layout="channels_first") if pairs.images else reading
    examples = read_dataset(pairs, known, where=where)
    return replace(examples, class_names=tuple(names) if names and not reading.regression else None)


class _Pairs:
    """Pairs of pixels, or numbers, and a label, by index."""

    def __init__(
        self, table: Any, inputs: str, label: str, *, reading: Reading, where: str
    ) -> None:
        feature = table.features[inputs]
        self.images = type(feature).__name__ == "Image"
        self._where, self._inputs = where, inputs
        self._size = reading.size_pair
        if self._size is not None and not self.images:
            raise ValueError(f"`size` is for images; got {reading.size!r} for {where}.")
        self.targets = np.asarray(list(table.with_format(None)[label]))
        if self.images:
            raw = type(feature)(decode=False)
            self._table = table.with_format(None).select_columns([inputs]).cast_column(inputs, raw)
            modes = [mode_of(self._opened(i)) for i in range(len(self.targets))]
            self._mode = common_mode(modes, lambda i: f"The image of example {i} of {where}")
        else:
            self._table = table.with_format("numpy", columns=[inputs], **_dtype(feature))

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[np.ndarray, Any]:
        if not self.images:
            return np.asarray(self._table[index][self._inputs]), self.targets[index]
        try:
            picture = pixels(self._opened(index), self._mode, size=self._size)
        except (OSError, SyntaxError, ValueError) as error:
            raise self._broken(index, error) from None
        return picture, self.targets[index]

    def _opened(self, index: int) -> Image.Image:
        """Return an image whose header has been read."""
        cell = self._table[index][self._inputs]
        try:
            return Image.open(BytesIO(cell["bytes"]) if cell["bytes"] else cell["path"])
        except (OSError, SyntaxError, ValueError, TypeError, AttributeError) as error:
            raise self._broken(index, error) from None

    def _broken(self, index: int, error: Exception) -> DataError:
        return DataError(
            f"The images of {self._where} must be whole; got {error} in example {index}."
        )


def _dtype(feature: Any) -> dict[str, str]:
    """Return the dtype of an array's numbers as it is stored, which a format would widen."""
    while hasattr(feature, "feature"):
        feature = feature.feature
    numbers = str(getattr(feature, "dtype", ""))
    return {"dtype": numbers} if numbers.startswith(("int", "uint", "float", "bool")) else {}


def _columns(table: Any, reading: Reading, where: str) -> tuple[str, str]:
    """Return the names of the columns of inputs and of labels."""
    kinds = {name: type(feature).__name__ for name, feature in table.features.items()}
    images = [name for name, kind in kinds.items() if kind == "Image"]
    inputs = images or [name for name, kind in kinds.items() if kind in _ARRAYS]
    classes = [name for name, kind in kinds.items() if kind == "ClassLabel"]
    values = [name for name, kind in kinds.items() if kind in ("ClassLabel", "Value")]
    named = [name for name in values if name.lower() in _LABEL_NAMES]
    choices = [named, values] if reading.regression else [classes, named, values]
    labels = next((names for names in choices if names), [])
    for what, found in (("images or arrays", inputs), ("labels", labels)):
        if len(found) != 1:
            got = ", ".join(found) if found else f"none among {', '.join(kinds)}"
            example = [(inputs or ["image"])[0], (labels or ["label"])[0]]
            raise DataError(
                f"{where} must have one column of {what}; got {got}. Leave one of each, such as "
                f"`dataset.select_columns({example})`."
            )
    return inputs[0], labels[0]
