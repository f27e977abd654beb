"""Examples from outside, read: arrays, `.npz` files, image folders, data sets of others."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gengap._errors import DataError

from ._dataset_source import read_dataset
from ._huggingface import TEST_NAMES, half_tables, is_table, is_tables, read_table
from ._image_folder import read_folder
from ._inputs import stored_inputs
from ._pictures import is_picture
from ._reading import Examples, Reading
from ._split import Split
from ._targets import target_array

Half = Literal["train", "test"]

_KEYS = (("x", "y"), ("data", "target"))
_HALF_KEYS = ("x_train", "y_train", "x_test", "y_test")


def opened(source: Any) -> Any:
    """Return a path's arrays if it is an `.npz` file, and anything else as it is."""
    if is_tables(source):
        return half_tables(source, "`data`")
    if not isinstance(source, (str, Path)):
        return source
    path = Path(source).expanduser()
    if not path.exists():
        raise DataError(f"`{path}` must exist; it does not.")
    if path.is_dir():
        return path
    if path.suffix.lower() != ".npz":
        raise DataError(f"`{path}` must be an .npz file or a folder of images; it is neither.")
    if not zipfile.is_zipfile(path):
        raise DataError(
            f"`{path}` must be a whole .npz file of plain arrays; it is no zip archive."
        )
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"`{path}` must be a whole .npz file of plain arrays; got an error: {error}."
        ) from None


def halves(source: Any) -> tuple[Any, Any] | None:
    """Return the train and the test half of an opened source, or None if it is not divided."""
    if isinstance(source, Path):
        return _half_folders(source)
    if isinstance(source, Mapping):
        if not all(key in source for key in _HALF_KEYS):
            return None
        x_train, y_train, x_test, y_test = (source[key] for key in _HALF_KEYS)
        return (x_train, y_train), (x_test, y_test)
    if isinstance(source, (tuple, list)):
        if len(source) == 4:
            return (source[0], source[1]), (source[2], source[3])
        if len(source) == 2 and all(map(_is_half, source)):
            return opened(source[0]), opened(source[1])
    return None


def _half_folders(folder: Path) -> tuple[Path, Path] | None:
    train = folder / "train"
    tests = [folder / name for name in TEST_NAMES if (folder / name).is_dir()]
    return (train, tests[0]) if train.is_dir() and tests else None


def _is_half(part: object) -> bool:
    """Return whether one of two parts is examples with targets rather than an array."""
    if is_table(part):
        return True
    if isinstance(part, (Split, Dataset, DataLoader, Mapping, str, Path)):
        return True
    if isinstance(part, (tuple, list)):
        return len(part) == 2 and getattr(part[0], "ndim", 0) >= 2
    return _is_dataset(part)


def _is_dataset(source: object) -> bool:
    if isinstance(source, Dataset):
        return True
    return hasattr(source, "__getitem__") and not (
        hasattr(source, "shape") or isinstance(source, (str, bytes, tuple, list, Mapping, Tensor))
    )


def read_examples(source: Any, reading: Reading, *, where: str) -> Examples:
    """Read one half, or all, of examples from outside; checked, but labels as they came."""
    if isinstance(source, Path):
        examples = read_folder(source, reading, where=where)
    elif is_table(source):
        examples = read_table(source, reading, where=where)
    elif reading.size is not None:
        raise ValueError(f"`size` is for folders of images; got {reading.size!r} for {where}.")
    elif isinstance(source, DataLoader):
        raise DataError(f"{where} must be a Dataset; got a DataLoader. Give its `.dataset`.")
    elif _is_dataset(source):
        examples = read_dataset(source, reading, where=where)
    else:
        examples = _read_pair(*_pair(source, where), reading, where)
    if len(examples.targets) != len(examples.inputs):
        raise DataError(
            f"{where} must have one target an example; got {len(examples.inputs)} examples and "
            f"{len(examples.targets)} targets."
        )
    return examples


def _read_pair(x: Any, y: Any, reading: Reading, where: str) -> Examples:
    targets = target_array(y, where=where)
    listed = isinstance(x, (list, tuple)) and bool(x) and is_picture(x[0])
    if listed and len(x) == len(targets):
        return read_dataset(list(zip(x, targets, strict=True)), reading, where=where)
    inputs = stored_inputs(x, layout=reading.layout, where=where)
    return Examples(inputs=inputs, targets=targets, where=where)


def _pair(source: Any, where: str) -> tuple[Any, Any]:
    if isinstance(source, Mapping):
        for x, y in _KEYS:
            if x in source and y in source:
                return source[x], source[y]
        wanted = f"`x` and `y`, or {', '.join(f'`{key}`' for key in _HALF_KEYS)}"
        found = ", ".join(map(repr, list(source)[:8])) or "nothing"
        raise DataError(f"{where} must hold arrays named {wanted}; got {found}.")
    if isinstance(source, (tuple, list)) and len(source) == 2:
        return source[0], source[1]
    kind = type(source).__name__
    if isinstance(source, (tuple, list)):
        kind += f" of {len(source)}"
    raise DataError(
        f"{where} must be a pair (inputs, targets), a path, a Dataset or a Split; got a {kind}."
    )
