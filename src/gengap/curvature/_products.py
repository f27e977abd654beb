"""Products of a whole split's second derivatives with vectors, chunk by chunk."""

import copy
from collections.abc import Iterator, Sequence
from typing import final

import torch
from torch import Tensor

from gengap.risk import Risk

from ._chunk_products import Build, Multiply
from ._graph_bytes import graph_bytes

DEFAULT_MEMORY = 1 << 30
_SMALL, _FEW, _BLOCK, _BLOCK_BYTES = 50_000, 8, 64, 1 << 25


@final
class Products:
    """The mean loss's second derivatives times rows, chunks weighted by their size.

    The graph of a chunk's gradient is kept from one product to the next while all that are kept
    take no more than `memory` bytes; the rest is built again for every block of vectors, once
    for all of them.

    Attributes:
        kept: Chunks whose graph is kept.
        chunk_bytes: What the graph of the first chunk holds besides the parameters; 0 before the
            first product.
    """

    def __init__(self, risk: Risk, names: tuple[str, ...], build: Build, memory: int) -> None:
        """Build nothing yet."""
        named = dict(risk.model.named_parameters())
        self._risk, self._build, self._memory = risk, build, memory
        self._params = [named[name] for name in names]
        self._graphs: dict[int, Multiply] = {}
        self._apart: set[int] = set()
        self._together: set[int] = set()
        self.chunk_bytes = 0

    def on(self, risk: Risk, memory: int) -> "Products":
        """Return the same for other examples; what was found out about the graph goes along."""
        other = copy.copy(self)
        other._risk, other._memory, other._graphs = risk, memory, {}
        return other

    @property
    def kept(self) -> int:
        """Chunks whose graph is kept."""
        return len(self._graphs)

    @property
    def example_bytes(self) -> float:
        """Bytes that the graph of an example's gradient takes, measured on the first few."""
        if not self.chunk_bytes:
            few = self.on(self._risk[:_FEW], 0)
            few._make(0, *next(iter(few._risk.batches())))
            return few.chunk_bytes / few._risk.n
        return self.chunk_bytes / min(self._risk.chunk, self._risk.n)

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the products of the rows [k, p], float64 [k, p]."""
        total = torch.zeros(rows.shape, dtype=torch.float64, device=rows.device)
        vectors = rows.split([p.numel() for p in self._params], 1)
        shaped = [v.view(-1, *p.shape) for v, p in zip(vectors, self._params, strict=True)]
        sums = total.split([p.numel() for p in self._params], 1)
        several = len(rows) > 1 and rows.shape[1] <= _SMALL
        for index, (x, y) in enumerate(self._data()):
            multiply = self._make(index, x, y)
            if several and self._batches(multiply, shaped, index):
                _add(sums, multiply(shaped, True))
                continue
            for k in range(len(rows)):
                _add([s[k] for s in sums], multiply([v[k] for v in shaped], False))
            del multiply  # before the next chunk's graph is built
        total /= self._risk.n
        return self._checked(total)

    def _checked(self, total: Tensor) -> Tensor:
        if not torch.isfinite(total.sum()):
            raise ValueError(
                "`risk` must have finite second derivatives at its point; got nan or inf. Check "
                "the parameters and the inputs, or compute in torch.float64."
            )
        return total

    def _batches(self, multiply: Multiply, shaped: list[Tensor], index: int) -> bool:
        """Whether several vectors at once give what one gives, tried once for a chunk's size.

        Not every operation's second derivative can be vectorized, and some of them are wrong.
        """
        size = min(self._risk.chunk, self._risk.n - index * self._risk.chunk)
        if size not in self._together | self._apart:
            alone = multiply([v[0] for v in shaped], False)
            try:
                together = multiply([v[:2] for v in shaped], True)
                same = all(_same(a, b) for a, b in zip(alone, together, strict=True))
            except RuntimeError:
                same = False
            (self._together if same else self._apart).add(size)
        return size in self._together

    def forms(self, rows: Tensor) -> Tensor:
        """Return v' H v of the rows [k, p], float64 [k], without sums of whole products."""
        parts = rows.split([p.numel() for p in self._params], 1)
        shaped = [v.view(-1, *p.shape) for v, p in zip(parts, self._params, strict=True)]
        total = torch.zeros(len(rows), dtype=torch.float64)
        for index, (x, y) in enumerate(self._data()):
            multiply = self._make(index, x, y)
            for block in self._blocks(multiply, shaped, index):
                vectors = [v[block] for v in shaped]
                several = len(vectors[0]) > 1
                found = multiply(vectors if several else [v[0] for v in vectors], several)
                for product, vector in zip(found, vectors, strict=True):
                    if product is not None:
                        total[block] += (product * vector).reshape(len(vector), -1).sum(1).cpu()
            del multiply
        return self._checked(total / self._risk.n)

    def _blocks(self, multiply: Multiply, shaped: list[Tensor], index: int) -> list[slice]:
        """Return which vectors go through a chunk's graph at once: as many as memory bears."""
        count, p = len(shaped[0]), sum(v[0].numel() for v in shaped)
        size = min(_BLOCK, _BLOCK_BYTES // (p * shaped[0].itemsize + self.chunk_bytes))
        several = p <= _SMALL and min(count, size) > 1
        if not several or not self._batches(multiply, shaped, index):
            size = 1
        return [slice(start, start + size) for start in range(0, count, size)]

    def _data(self) -> Iterator[tuple[Tensor | None, Tensor | None]]:
        """Yield the chunks; without their examples where every graph is kept."""
        if self.kept == -(-self._risk.n // self._risk.chunk):
            return iter([(None, None)] * self.kept)
        return self._risk.batches()

    def _make(self, index: int, x: Tensor | None, y: Tensor | None) -> Multiply:
        if index in self._graphs:
            return self._graphs[index]
        assert x is not None and y is not None
        made, ends = self._build(self._risk, self._params, x, y)
        if not self.chunk_bytes:
            self.chunk_bytes = max(1, graph_bytes(ends, self._params))
        if (self.kept + 1) * self.chunk_bytes <= self._memory:
            self._graphs[index] = made
        return made


def _same(alone: Tensor | None, together: Tensor | None) -> bool:
    if alone is None or together is None:
        return alone is together
    largest = float(alone.abs().max())
    return bool((alone - together[0]).abs().max() <= 1e-4 * largest)


def _add(sums: Sequence[Tensor], parts: list[Tensor | None]) -> None:
    for total, part in zip(sums, parts, strict=True):
        if part is not None:
            total += part.reshape(total.shape)
