"""Coordinate-wise means over the examples of a batch that extremes cannot carry away."""

from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
import torch
from torch import Tensor

from gengap._checks import check_choice

from ._order_statistics import Middle, Space, Write, by_insertion, middle

_BLOCK = 32_768  # coordinates: measured; smaller blocks cost calls, larger ones the cache
_GPU_BLOCK = 4_194_304
_PAYS = 0.9  # share of examples up to which those that are zero are left out


@final
@dataclass(frozen=True, kw_only=True)
class RobustMean:
    r"""A mean over examples, coordinate by coordinate, that extremes cannot carry away.

    With the b values of a coordinate in order, $v_{(0)} \le \dots \le v_{(b-1)}$, the index of
    the nearest percentile, $l = [(b - 1) c / 100]$, rounded as NumPy does, but at most
    $(b - 1) / 2$, and $u = b - 1 - l$:

    - winsorized: $\frac{1}{b} ( l v_{(l)} + \sum_{i=l}^{u} v_{(i)} + l v_{(u)} )$, what lies
      outside clipped to the percentiles;
    - trimmed: $\frac{1}{b - 2l} \sum_{i=l}^{u} v_{(i)}$, what lies outside left out.

    c = 0 is the plain mean, c = 50 the median, of two middle values their mean. Equivariant to
    shifts and scalings of a coordinate, not to rotations of the coordinates. A value that is not
    a number makes its coordinate not a number. Sums of half-precision values are in float32.

    Attributes:
        kind: "winsorized" or "trimmed".
        percent: The percentile c, in [0, 50]. At a batch of 100, c = 2 clips the two most extreme
            values of either side.

    Source:
        Chatterjee (2020), arXiv:2002.10657, and its code, which is
        `np.percentile(t, [c, 100 - c], axis=-1, method="nearest")`, clip, and a sum over the
        gradients of the batch's mean loss. The index l is NumPy's, by asking it. Where it lies
        halfway between two, as at a batch of 16 and c = 10, the code leaves one more out on one
        side, which pulls the mean of symmetric values to the other; ours leaves out equally many.
    """

    kind: Literal["winsorized", "trimmed"] = "winsorized"
    percent: float = 1.0

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, ("winsorized", "trimmed"))
        if not 0 <= self.percent <= 50:
            raise ValueError(f"`percent` must lie in [0, 50]; got {self.percent!r}.")

    def outside(self, b: int) -> int:
        """Return how many of b values lie below the lower percentile, and as many above."""
        if b < 1:
            raise ValueError("`values` must hold at least one example; got none.")
        low = int(np.percentile(np.arange(b), self.percent, method="nearest"))
        return min(low, (b - 1) // 2)

    def idle(self, b: int) -> str:
        """Return what to say where c is above 0 and nothing of b examples is outside; else ""."""
        if self.percent == 0 or self.outside(b):
            return ""
        more = f"more than {50 / (b - 1):.4g}" if b > 2 else "larger batches"
        return (
            f"must reach an example of a batch; got {self.percent:g} for {b} "
            f"example{'s' if b > 1 else ''}, which is the plain mean and so SGD. Take {more}, or 0 "
            "if that is meant."
        )

    def of_rows(self, values: Tensor) -> Tensor:
        """Return the means [*shape] of values [b, *shape]."""
        b, rows = len(values), values[..., None].flatten(1)
        outside = self.outside(b)
        if outside == 0 or not values.numel():
            return values.mean(0)
        result = rows.new_empty(rows.shape[1])
        size = min(_block_of(values, b, outside), len(result))
        space = Space(rows, (size,))
        for start in range(0, len(result), size):
            part = rows[:, start : start + size]
            if part.shape[1] < size:
                space = Space(rows, (part.shape[1],))
            found = middle(_rows(part, space), count=b, zeros=0, outside=outside, space=space)
            result[start : start + size] = self._mean(found, b, outside)
        return result.view(values.shape[1:])

    def of_outer_products(self, left: Tensor, right: Tensor) -> Tensor:
        r"""Return the means [o, d] of the outer products $u_i v_i^\top$ of [b, o] and [b, d].

        The products are never materialized: they are made block by block in the cache. Of the two
        factors, the one with more zeros (of a ReLU, of dark pixels) is gone through without them,
        so that zero times infinity may be zero here.

        Cost: 4 l + 5 passes an example over the entries of [o, d] that are not zero.
        Memory: the result, and a few blocks.
        """
        b = len(left)
        outside = self.outside(b)
        if outside == 0 or not left.numel() or not right.numel():
            return left.T @ right / b
        left_share, right_share = ((t != 0).float().mean().item() for t in (left, right))
        if right_share < left_share:
            return self._by_columns(right, left, outside).T.contiguous()
        return self._by_columns(left, right, outside)

    def _by_columns(self, thin: Tensor, wide: Tensor, outside: int) -> Tensor:
        """Return the means [t, w] of outer products, leaving out the zeros of thin [b, t]."""
        b, columns = thin.shape
        present = thin != 0
        counts = present.sum(0)
        order = counts.argsort(descending=True)
        examples = present.to(torch.uint8).argsort(dim=0, descending=True, stable=True)
        result = wide.new_empty(columns, wide.shape[1])
        size = max(1, _block_of(wide, b, outside) // wide.shape[1])
        space = None
        for places in order.split(size):
            if space is None or len(places) < size:
                space = Space(wide, (len(places), wide.shape[1]))
            count = int(counts[places[0]])
            if count > _PAYS * b:
                count, write = b, _every_example(thin[:, places], wide, space)
            else:
                write = _some_examples(thin[:, places], wide, examples[:count, places], space)
            found = middle(write, count=count, zeros=b - count, outside=outside, space=space)
            result[places] = self._mean(found, b, outside).to(result.dtype)
        return result

    def _mean(self, found: Middle, b: int, outside: int) -> Tensor:
        if self.kind == "trimmed":
            return found.total / (b - 2 * outside)
        clipped = found.total.add(found.least, alpha=outside).add_(found.most, alpha=outside)
        return clipped / b


def _rows(values: Tensor, space: Space) -> Write:
    """Return what writes the rows of values [b, r]."""
    rows = space.native(values)

    def write(s: int, x: Any) -> None:
        x[...] = rows[s]

    return write


def _every_example(thin: Tensor, wide: Tensor, space: Space) -> Write:
    """Return what writes the products of columns thin [b, r] and wide [b, w], as [r, w]."""
    weights, values, multiply = space.native(thin[..., None]), space.native(wide), space.xp.multiply

    def write(s: int, x: Any) -> None:
        multiply(weights[s], values[s], out=x)

    return write


def _some_examples(thin: Tensor, wide: Tensor, examples: Tensor, space: Space) -> Write:
    """Return the like, each column going through its own examples [count, r]."""
    weights = space.native(thin.gather(0, examples)[..., None])
    values, places = space.native(wide), space.native(examples)

    def write(s: int, x: Any) -> None:
        torch.multiply(weights[s], values[places[s]], out=x)

    def write_numpy(s: int, x: np.ndarray) -> None:
        values.take(places[s], 0, out=x, mode="clip")  # any other mode takes a copy first
        x *= weights[s]

    return write if space.xp is torch else write_numpy


def _block_of(values: Tensor, b: int, outside: int) -> int:
    """Return how many coordinates are worked on together."""
    if values.device.type != "cpu":
        return _GPU_BLOCK
    return _BLOCK if by_insertion(b, outside) else max(1, 8 * _BLOCK // b)


def winsorized_mean(values: Tensor, percent: float = 1.0) -> Tensor:
    """Return the means [*shape] of values [b, *shape] clipped to their percentiles; `RobustMean`.

    Examples:
        >>> winsorized_mean(torch.tensor([[1.0], [2.0], [3.0], [4.0], [100.0]]), percent=25)
        tensor([3.])
    """
    return RobustMean(kind="winsorized", percent=percent).of_rows(values)


def trimmed_mean(values: Tensor, percent: float = 1.0) -> Tensor:
    """Return the means [*shape] of values [b, *shape] between their percentiles; `RobustMean`.

    Examples:
        >>> trimmed_mean(torch.tensor([[1.0], [2.0], [3.0], [5.0], [100.0]]), percent=25)
        tensor([3.3333])
    """
    return RobustMean(kind="trimmed", percent=percent).of_rows(values)
