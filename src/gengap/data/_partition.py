"""A fixed, stratified division of examples into a train and a test half."""

import numpy as np
import torch

from gengap._streams import streams


def partition(
    labels: np.ndarray | None, *, num_test: int, seed: int, num_examples: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Divide examples, each class in its proportion (largest remainders, ties to low labels).

    Args:
        labels: Class of every example, [n]; None where there are no classes.
        num_test: Examples in the test half, at least 1 and below n.
        seed: Root of the draws; the same seed gives the same halves.
        num_examples: n, where `labels` is None.

    Returns:
        Sorted indices of the train and of the test half.
    """
    if labels is None:
        labels = np.zeros(num_examples or 0, np.int64)
    n = len(labels)
    if not 1 <= num_test < n:
        raise ValueError(f"`num_test` must lie in 1..{n - 1} for {n} examples; got {num_test}.")
    values, codes = np.unique(labels, return_inverse=True)
    counts = np.bincount(codes, minlength=len(values))
    exact = counts * num_test / n
    quota = np.floor(exact).astype(np.int64)
    # The last example of a class goes to the test half only if nothing else is left.
    order = np.lexsort((-(exact - quota), counts - quota <= 1))
    quota[order[: num_test - int(quota.sum())]] += 1
    stream = streams(seed)("partition")
    test = [
        np.flatnonzero(codes == code)[torch.randperm(count, generator=stream).numpy()[:take]]
        for code, (count, take) in enumerate(zip(counts, quota, strict=True))
    ]
    chosen = np.zeros(n, bool)
    chosen[np.concatenate(test)] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
