"""What stands in the files that a corruption reads."""

import contextlib
import dataclasses
import hashlib
from typing import Any

import numpy as np

from gengap._errors import DataError
from gengap.corruptions import LabelsFromFile


def files_read(value: Any) -> list[str]:
    """Return a hash of the labels in every file that a corruption, or one in it, reads.

    A file that cannot be read has none: the trial fails, and says why.
    """
    if isinstance(value, LabelsFromFile):
        with contextlib.suppress(DataError):
            return [_hashed(value.read())]
        return []
    if isinstance(value, tuple | list):
        return [one for item in value for one in files_read(item)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return files_read([getattr(value, f.name) for f in dataclasses.fields(value)])
    return []


def _hashed(labels: np.ndarray) -> str:
    """Return a hash of numbers; whole ones are alike as floats and as integers."""
    text = f"{labels.shape} {labels.tolist()}"
    if labels.dtype.kind in "iufb":
        text = f"{labels.shape} {labels.astype(np.float64).tolist()}"
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()
