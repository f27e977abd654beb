"""The embedding: rows of a table picked by index."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn import functional as F

from ._part import Part, SequencePart
from ._row_sums import row_dots, squared_row_norms
from ._rule import Kept, Layout, Rule

_FEW = 16


@final
@dataclass(frozen=True, kw_only=True)
class EmbeddingRule(Rule):
    """Rows of a table.

    Attributes:
        padding: Index of the row that gets no gradient; None where there is none.
        sparse: Whether the table's gradient is sparse in PyTorch.
    """

    padding: int | None
    sparse: bool = False

    def forward(self, x: Tensor, *params: Tensor | None) -> tuple[Tensor, Kept]:
        """Pick the rows of indices [b, ...]."""
        (weight,) = params
        assert weight is not None
        return F.embedding(x, weight, self.padding), ()

    def as_autograd_gives_it(self, gradient: Tensor, x: Tensor) -> Tensor:
        """Return the rows that were picked, where the table's gradient is sparse."""
        if not self.sparse:
            return gradient
        rows = x.unique()
        if self.padding is not None:
            rows = rows[rows != self.padding]
        return torch.sparse_coo_tensor(
            rows[None], gradient[rows], gradient.shape, is_coalesced=True, check_invariants=False
        )

    def backward(
        self,
        delta: Tensor,
        x: Tensor,
        params: tuple[Tensor | None, ...],
        kept: Kept,
        *,
        layout: Layout,
        wanted: tuple[bool, ...],
    ) -> tuple[Tensor | None, tuple[Part | None, ...]]:
        """Keep indices and output gradients."""
        (weight,) = params
        assert weight is not None
        if self.padding is not None:
            delta = delta.masked_fill((x == self.padding).unsqueeze(-1), 0)
        tokens, deltas = layout.rows(x), layout.rows(delta)
        tokens = tokens.flatten(1) if tokens.ndim > 1 else tokens.unsqueeze(1)
        part = EmbeddingPart(tokens, deltas.reshape(*tokens.shape, weight.shape[1]), weight.shape)
        return None, (part,)


@final
class EmbeddingPart(Part):
    r"""Gradients of a table: output gradients $\delta_{it}$ put in the rows $k_{it}$.

    $\|g_i\|^2 = \sum_{s,t} [k_{is} = k_{it}] \, \delta_{is} \cdot \delta_{it}$; for more than a
    few positions, the gradients of equal indices are added up first.
    """

    def __init__(self, tokens: Tensor, deltas: Tensor, shape: torch.Size) -> None:
        """Take indices [b, t] and output gradients [b, t, d]."""
        self.tokens, self.deltas, self.shape = tokens, deltas, shape
        self.dtype = deltas.dtype

    def _squared_norms(self) -> Tensor:
        """Count equal indices together."""
        b, t = self.tokens.shape
        if t <= _FEW:
            equal = self.tokens.unsqueeze(1) == self.tokens.unsqueeze(2)
            products = self.deltas @ self.deltas.mT
            return row_dots(products.flatten(1), equal.flatten(1).to(products.dtype)).clamp(min=0)
        keys, rows = self._rows_of_examples()
        norms = torch.zeros(b, dtype=torch.float64, device=rows.device)
        return norms.index_add_(0, keys // self.shape[0], squared_row_norms(rows))

    def sum_of_squares(self) -> Tensor:
        """Square what an example adds to a row of the table."""
        keys, rows = self._rows_of_examples()
        total = rows.new_zeros(self.shape, dtype=torch.float64)
        return total.index_add_(0, keys % self.shape[0], rows.double().square())

    def _rows_of_examples(self) -> tuple[Tensor, Tensor]:
        """Return example times rows of the table plus row, [k], and what is added there, [k, d]."""
        examples = torch.arange(len(self.tokens), device=self.tokens.device).unsqueeze(1)
        keys, inverse = (examples * self.shape[0] + self.tokens).unique(return_inverse=True)
        rows = self.deltas.new_zeros(len(keys), self.shape[1])
        return keys, rows.index_add_(0, inverse.flatten(), self.deltas.flatten(0, 1))

    def sum(self) -> Tensor:
        """Add all output gradients to their rows."""
        total = self.deltas.new_zeros(self.shape)
        return total.index_add_(0, self.tokens.flatten(), self.deltas.flatten(0, 1))

    def dense(self) -> Tensor:
        """Return the tables, [b, rows, d]."""
        tables = self.deltas.new_zeros(len(self.tokens), *self.shape)
        index = self.tokens.unsqueeze(2).expand_as(self.deltas)
        return tables.scatter_add_(1, index, self.deltas)

    def sequence(self) -> SequencePart:
        """Write the indices as columns with a single one."""
        columns = F.one_hot(self.tokens, self.shape[0]).to(self.deltas.dtype)
        return SequencePart(self.deltas, columns)

    def wide(self, chosen: Tensor | slice) -> "EmbeddingPart":
        """Take indices and output gradients."""
        return EmbeddingPart(self.tokens[chosen], self.deltas[chosen].double(), self.shape)

    def dots(self, direction: Tensor) -> Tensor:
        """Pick the rows of the direction."""
        picked = direction.to(self.deltas.dtype)[self.tokens]
        return row_dots(picked.flatten(1), self.deltas.flatten(1))
