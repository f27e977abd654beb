"""The noise scale of SGD, and the batch size at which test accuracy is best."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from gengap._checks import check_count, check_positive, check_probability
from gengap._streams import derive_seed

_WORLDS = 400


def noise_scale(
    *,
    lr: float,
    n: int,
    batch_size: float,
    momentum: float = 0.0,
    large: bool = False,
) -> float:
    r"""Return the scale of the random fluctuations of SGD.

    $g = \frac{\epsilon}{1 - m} \left( \frac{N}{B} - 1 \right)$, for $B \ll N$ about
    $\frac{\epsilon N}{B (1 - m)}$

    The strength of the noise in the stochastic differential equation that SGD follows when its
    steps are small. In the units of the learning rate; 0 where a batch is the whole train half.
    Knows nothing of the network: it compares runs of one network on one task. Another noise scale
    is `gengap.gradients.noise_scale`, measured from gradients and in examples.

    Args:
        lr: Learning rate epsilon of the mean loss. Positive.
        n: Training examples N.
        batch_size: Examples a step B, from 1 to n.
        momentum: m in [0, 1).
        large: Leave out the -1, as the paper does for batches that are small against n.

    Source:
        Smith and Le (2018), arXiv:1710.06451, section 4; with momentum, section 5.3.

    Examples:
        >>> noise_scale(lr=1.0, n=1000, batch_size=50, momentum=0.9)
        190.00000000000003
    """
    _check(lr, n, momentum)
    if not 1 <= batch_size <= n:
        raise ValueError(f"`batch_size` must lie in [1, {n}]; got {batch_size!r}.")
    return lr / (1 - momentum) * (n / batch_size - (0 if large else 1))


def batch_size_for(scale: float, *, lr: float, n: int, momentum: float = 0.0) -> float:
    r"""Return the batch size that has a noise scale, $B = \frac{N}{1 + g (1 - m) / \epsilon}$.

    What to change the batch size to when learning rate, momentum or the number of examples
    change; about proportional to lr n / (1 - m).

    Args:
        scale: The noise scale g, as of `noise_scale`. Positive.
        lr: Learning rate.
        n: Training examples.
        momentum: In [0, 1).

    Returns:
        A batch size in (0, n), not rounded.
    """
    _check(lr, n, momentum)
    check_positive("scale", scale)
    return n / (1 + scale * (1 - momentum) / lr)


def _check(lr: float, n: int, momentum: float) -> None:
    check_positive("lr", lr)
    check_count("n", n)
    check_probability("momentum", momentum)
    if momentum == 1:
        raise ValueError("`momentum` must be below 1; got 1.")


@final
@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The batch size at which a sweep's test accuracy is best.

    Attributes:
        batch_size: Where the parabola is highest; not rounded.
        accuracy: Mean accuracy at the best batch size that was run, in [0, 1].
        best: That batch size.
        standard_error: Of ln(batch_size), over draws of the repetitions; NaN for single ones.
        interior: Whether it lies inside of the sweep, not at its end.
    """

    batch_size: float
    accuracy: float
    best: int
    standard_error: float
    interior: bool


def optimum_batch_size(accuracies: Mapping[int, Sequence[float]], *, seed: int = 0) -> Optimum:
    """Return where the test accuracy of a sweep over batch sizes is best.

    The top of the parabola, in the logarithm of the batch size, through the highest mean and its
    two neighbors; where the highest is the first or last, that one. Its error is found by
    drawing the repetitions of every batch size anew, 400 times, with their spread corrected
    for how few they are: on a plateau, where the highest mean is a matter of luck, it is large.
    It does not know what lies between or beyond the batch sizes run.

    Args:
        accuracies: Batch size to the test accuracies of its repetitions.
        seed: Root of the draws.

    Raises:
        ValueError: A batch size has no finite accuracy, or there are fewer than three.
    """
    if len(accuracies) < 3:
        raise ValueError(f"`accuracies` must have at least three batch sizes; got {accuracies!r}.")
    sizes = sorted(accuracies)
    runs = [np.asarray(accuracies[size], dtype=float) for size in sizes]
    for size, values in zip(sizes, runs, strict=True):
        check_positive("batch size", size)
        if not len(values) or not np.isfinite(values).all():
            raise ValueError(f"`accuracies` of batch size {size} must be finite; got {values}.")
    logs = np.log(np.asarray(sizes, dtype=float))
    means = np.asarray([values.mean() for values in runs])
    place = int(means.argmax())
    found = _highest(logs, means)
    error = math.nan
    if min(map(len, runs)) > 1:
        draw = np.random.Generator(np.random.Philox(key=derive_seed(seed, "optimum batch size")))
        wide = [v.mean() + (v - v.mean()) * math.sqrt(len(v) / (len(v) - 1)) for v in runs]
        worlds = [
            _highest(logs, np.asarray([draw.choice(v, len(v)).mean() for v in wide]))
            for _ in range(_WORLDS)
        ]
        error = float(np.std(worlds, ddof=1))
    return Optimum(
        batch_size=float(np.exp(found)),
        accuracy=float(means[place]),
        best=int(sizes[place]),
        standard_error=error,
        interior=bool(logs[0] < found < logs[-1]),
    )


def _highest(logs: np.ndarray, means: np.ndarray) -> float:
    """Return where the parabola through the highest mean and its neighbors has its top."""
    place = int(means.argmax())
    if place in (0, len(means) - 1):
        return float(logs[place])
    near = slice(place - 1, place + 2)
    square, slope, _ = np.polyfit(logs[near] - logs[place], means[near], 2)
    return float(logs[place] - slope / (2 * square)) if square < 0 else float(logs[place])
