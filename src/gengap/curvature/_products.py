"""Products of a whole split's second derivatives with vectors, chunk by chunk."""

from collections.abc import Iterator, Sequence
from typing import final

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from gengap.risk import Risk

from ._chunk_products import Build, Multiply

DEFAULT_MEMORY = 1 << 30
_SMALL = 50_000


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
        self.chunk_bytes = 0

    @property
    def kept(self) -> int:
        """Chunks whose graph is kept."""
        return len(self._graphs)

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the products of the rows [k, p], float64 [k, p]."""
        total = torch.zeros(rows.shape, dtype=torch.float64, device=rows.device)
        vectors = rows.split([p.numel() for p in self._params], 1)
        shaped = [v.view(-1, *p.shape) for v, p in zip(vectors, self._params, strict=True)]
        sums = total.split([p.numel() for p in self._params], 1)
        several = len(rows) > 1 and rows.shape[1] <= _SMALL
        for index, (x, y) in enumerate(self._data()):
            multiply = self._make(index, x, y)
            if several:
                _add(sums, multiply(shaped, True))
                continue
            for k in range(len(rows)):
                _add([s[k] for s in sums], multiply([v[k] for v in shaped], False))
            del multiply  # before the next chunk's graph is built
        total /= self._risk.n
        if not torch.isfinite(total.sum()):
            raise ValueError(
                "`risk` must have finite second derivatives at its point; got nan or inf. Check "
                "the parameters and the inputs, or compute in torch.float64."
            )
        return total

    def _data(self) -> Iterator[tuple[Tensor | None, Tensor | None]]:
        """Yield the chunks; without their examples where every graph is kept."""
        if self.kept == -(-self._risk.n // self._risk.chunk):
            return iter([(None, None)] * self.kept)
        return self._risk.batches()

    def _make(self, index: int, x: Tensor | None, y: Tensor | None) -> Multiply:
        if index in self._graphs:
            return self._graphs[index]
        assert x is not None and y is not None
        if not self.chunk_bytes:
            self.chunk_bytes = self._measure(x, y)
        made = self._build(self._risk, self._params, x, y)
        if (self.kept + 1) * self.chunk_bytes <= self._memory:
            self._graphs[index] = made
        return made

    def _measure(self, x: Tensor, y: Tensor) -> int:
        """Return the bytes that the graph of a chunk holds, parameters not counted."""
        ours = {p.untyped_storage().data_ptr() for p in self._params}
        held: dict[int, int] = {}

        def note(value: Tensor) -> Tensor:
            storage = value.untyped_storage()
            if storage.data_ptr() not in ours:
                held[storage.data_ptr()] = storage.nbytes()
            return value

        with saved_tensors_hooks(note, lambda value: value):
            self._build(self._risk, self._params, x, y)
        return max(1, sum(held.values()))


def _add(sums: Sequence[Tensor], parts: list[Tensor | None]) -> None:
    for total, part in zip(sums, parts, strict=True):
        if part is not None:
            total += part.reshape(total.shape)
