"""The binary layout of CIFAR-10: a label byte and 3,072 planar image bytes a row."""

from pathlib import Path

import numpy as np

from gengap._errors import DataError

SHAPE = (3, 32, 32)
_ROW = 1 + 3 * 32 * 32


def read_cifar_batch(
    path: Path, *, num_examples: int, num_classes: int = 10, content: bytes | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Read one batch file, strictly.

    Args:
        path: The file; also names it in errors.
        num_examples: Rows it must hold.
        num_classes: Labels must lie below this.
        content: The file's bytes, if they have been read already.

    Returns:
        Images, unsigned bytes [n, 3, 32, 32], and labels, unsigned bytes [n]; views.

    Raises:
        DataError: If the size is not that of `num_examples` rows, or a label is out of range.
    """
    expected = num_examples * _ROW
    size = path.stat().st_size if content is None else len(content)
    if size != expected:
        raise DataError(
            f"`{path}` must have {expected} bytes ({num_examples} rows of {_ROW}); got {size}."
        )
    rows = np.frombuffer(path.read_bytes() if content is None else content, np.uint8)
    rows = rows.reshape(num_examples, _ROW)
    labels = rows[:, 0]
    wrong = np.flatnonzero(labels >= num_classes)
    if len(wrong):
        raise DataError(
            f"`{path}` must hold labels 0..{num_classes - 1}; got {labels[wrong[0]]} in row "
            f"{wrong[0]}."
        )
    return rows[:, 1:].reshape(num_examples, *SHAPE), labels
