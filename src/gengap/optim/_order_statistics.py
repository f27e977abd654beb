"""Order statistics over the examples of a batch, in all coordinates at once, in cached blocks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

Write = Callable[[int, Any], None]
"""Writes the values of the s-th example into a block: an array of `Space.xp`."""


@final
@dataclass(frozen=True)
class Middle:
    """What is left of a batch without its extremes, coordinate by coordinate.

    Attributes:
        total: Sum of the values that are left; of half-precision ones in float32.
        least: The smallest of them.
        most: The largest of them.
    """

    total: Tensor
    least: Tensor
    most: Tensor


def middle(write: Write, *, count: int, zeros: int, outside: int, space: "Space") -> Middle:
    """Leave out the `outside` smallest and as many of the largest of count + zeros values.

    Few extremes are kept by insertion: an example costs 4 `outside` + 3 passes over the
    block, minima and maxima without branches. Many take a sorting network: about
    log(b)^2 / 2 passes an example.

    Args:
        write: Gives the values of one example.
        count: Number of examples that `write` gives.
        zeros: Number of further examples whose values are all zero.
        outside: Number of values left out on either side; 2 outside < count + zeros.
        space: Memory to work in.
    """
    way = _by_insertion if by_insertion(count + zeros, outside) else _by_sorting
    with np.errstate(all="ignore"):
        return way(write, count, zeros, outside, space)


def by_insertion(b: int, outside: int) -> bool:
    """Return whether insertion is the faster way to so many extremes of b values (measured)."""
    levels = (b - 1).bit_length()
    return 8 * outside <= 3 * levels * (levels + 1)


@final
class Space:
    """Memory for blocks of one shape, handed out again and again.

    Attributes:
        xp: Where the blocks' arithmetic is: NumPy on a CPU, whose calls cost a third of those of
            PyTorch, and PyTorch where NumPy has no such numbers.
        wide: The dtype of sums, float32 at least.
    """

    def __init__(self, like: Tensor, shape: tuple[int, ...]) -> None:
        self._like, self._shape = like, shape
        self.xp: Any = np if in_numpy(like) else torch
        self.wide = torch.promote_types(like.dtype, torch.float32)
        self._rows: list[Tensor] = []
        self._stack: Tensor | None = None
        self._total: Tensor | None = None

    def rows(self, count: int) -> list[Any]:
        """Return `count` arrays of the shape, of any content."""
        while len(self._rows) < count:
            self._rows.append(self._like.new_empty(self._shape))
        return [self.native(row) for row in self._rows[:count]]

    def total(self) -> Any:
        """Return an array of the shape for a sum, of any content."""
        if self._total is None:
            self._total = self._like.new_empty(self._shape, dtype=self.wide)
        return self.native(self._total)

    def stack(self, count: int) -> Tensor:
        """Return one tensor [count, *shape], of any content."""
        if self._stack is None or len(self._stack) < count:
            self._stack = self._like.new_empty((count, *self._shape))
        return self._stack[:count]

    def native(self, values: Tensor) -> Any:
        """Return a tensor as an array of `xp` that shares its memory."""
        return values.detach().numpy() if self.xp is np else values


def in_numpy(values: Tensor) -> bool:
    """Return whether NumPy can work in the memory of a tensor."""
    return values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64)


def _by_insertion(write: Write, count: int, zeros: int, outside: int, space: Space) -> Middle:
    minimum, maximum, add = space.xp.minimum, space.xp.maximum, space.xp.add
    total = space.total()
    least, most, x, spare, *rows = space.rows(2 * outside + 4)
    ranked: list[Any] = rows[: min(zeros, 2 * outside)]
    for row in ranked:
        row[...] = 0
    first = 2 * outside - len(ranked)
    for s in range(first):
        write(s, x)
        for k in range(len(ranked)):
            minimum(ranked[k], x, out=spare)
            maximum(ranked[k], x, out=x)
            ranked[k], spare = spare, ranked[k]
        ranked.append(x)
        x = rows[len(ranked) - 1]
    lows, highs = ranked[:outside], ranked[outside:][::-1]
    started = zeros > 2 * outside
    for row in (total, least, most):
        row[...] = 0
    for s in range(first, count):
        write(s, x)
        for k in range(outside):
            minimum(lows[k], x, out=spare)
            maximum(lows[k], x, out=x)
            lows[k], spare = spare, lows[k]
        for k in range(outside):
            maximum(highs[k], x, out=spare)
            minimum(highs[k], x, out=x)
            highs[k], spare = spare, highs[k]
        if not started:
            least[...], most[...] = x, x
            started = True
        add(total, x, out=total)
        minimum(least, x, out=least)
        maximum(most, x, out=most)
    return Middle(*map(torch.as_tensor, (total, least, most)))


def _by_sorting(write: Write, count: int, zeros: int, outside: int, space: Space) -> Middle:
    b = count + zeros
    rows = space.stack(1 << (b - 1).bit_length())
    for s in range(count):
        write(s, space.native(rows[s]))
    rows[count:b] = 0
    rows[b:] = torch.inf
    sort_rows(rows)
    kept = rows[outside : b - outside]
    return Middle(kept.sum(0, dtype=space.wide), kept[0], kept[-1])


def sort_rows(rows: Tensor) -> None:
    """Sort every column of [n, ...] in place, n a power of two.

    Source:
        Batcher's odd-even merge sort (1968): log2(n) (log2(n) + 1) / 2 stages, each two passes
        over about half of the rows, without branches.
    """
    n, rest = len(rows), rows.shape[1:]
    width = 1
    while width < n:
        merged = rows.view(n // (2 * width), 2 * width, *rest)
        _exchange(merged[:, :width], merged[:, width:])
        gap = width // 2
        while gap:
            inner = merged[:, gap : 2 * width - gap].unflatten(1, (-1, 2, gap))
            _exchange(inner[:, :, 0], inner[:, :, 1])
            gap //= 2
        width *= 2


def _exchange(upper: Tensor, lower: Tensor) -> None:
    """Put the minima above and the maxima below."""
    minima = torch.minimum(upper, lower)
    torch.maximum(upper, lower, out=lower)
    upper.copy_(minima)
