"""Equal examples with different targets, which no function fits."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def check_duplicates(x: NDArray[Any], y: NDArray[Any]) -> None:
    """Refuse equal rows of x with different rows of y.

    Raises:
        ValueError: There are some; the sentence names the first pair.
    """
    x = np.ascontiguousarray(x)
    _, place, counts = np.unique(x.sum(1), return_inverse=True, return_counts=True)
    first: dict[bytes, int] = {}
    for i in np.flatnonzero(counts[place] > 1).tolist():  # equal rows have equal sums
        j = first.setdefault((x[i] + 0.0).tobytes(), i)
        if j != i and not np.array_equal(y[i], y[j]):
            raise ValueError(
                f"`y` must be the same for equal examples, as no function is two things at once; "
                f"got different targets for examples {j} and {i}. Remove one, or take a ridge."
            )
