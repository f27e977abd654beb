"""Labels changed by an arbitrary matrix of class-transition probabilities."""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gengap._streams import streams
from gengap.data import Split

from ._corruption import Corruption
from ._new_labels import is_spared, num_label_classes, with_labels


@final
@dataclass(frozen=True, kw_only=True)
class TransitionMatrix(Corruption):
    r"""Replace a label $i$ by $j$ with probability $T_{ij}$.

    The expected share of changed labels is the mean of $1 - T_{yy}$ over the examples. One draw
    decides whether a label leaves its class, another one where to, so the changes are nested in
    the strength: from one seed, those of $I + t (T - I)$ are among those of $T$ for $t \le 1$,
    and are the same there.

    Attributes:
        matrix: $T$ as c rows of c probabilities; each row sums to 1 within 1e-6. Lists, arrays
            and tensors are taken and kept as tuples.
        test_labels: Change the labels of a test half too.
    """

    matrix: tuple[tuple[float, ...], ...]
    test_labels: bool = False

    def __post_init__(self) -> None:
        rows = tuple(tuple(float(value) for value in row) for row in self.matrix)
        object.__setattr__(self, "matrix", rows)
        for row in rows:
            if len(row) != len(rows):
                raise ValueError(
                    f"`matrix` must be square; got {len(rows)} rows and one of {len(row)} values."
                )
            if not all(0 <= value <= 1 for value in row) or abs(math.fsum(row) - 1) > 1e-6:
                raise ValueError(
                    f"`matrix` must have rows of probabilities that sum to 1; got {row}."
                )

    def __call__(self, split: Split, /, *, seed: int) -> Split:
        """Return the split with labels changed by the matrix. Draws 2 n uniforms."""
        num_classes = num_label_classes(split, corruption="TransitionMatrix")
        if num_classes != len(self.matrix):
            raise ValueError(
                f"`matrix` must have one row for each of the {num_classes} classes of "
                f"`{split.name}`; got {len(self.matrix)} rows."
            )
        if is_spared(split, test_labels=self.test_labels):
            return split
        generator = streams(seed)("transition matrix", split.half)
        leaves, where = torch.rand(2, len(split), generator=generator, dtype=torch.float64)
        old = split.targets.cpu()
        away = torch.tensor(self.matrix, dtype=torch.float64).fill_diagonal_(0.0)
        destination = _destinations(away, old, where)
        return with_labels(split, torch.where(leaves < away.sum(1)[old], destination, old))


def _destinations(away: Tensor, old: Tensor, where: Tensor) -> Tensor:
    """Pick a class for each example [n] by the inverse distribution function of its row."""
    edges = away.cumsum(1)
    total = edges[:, -1:].clone()
    edges = torch.where(total > 0, edges / total, 1.0)
    # Edges after the last class with a chance are 1, and `where` is below 1: the search ends there.
    return torch.searchsorted(edges[old], where[:, None], right=True).squeeze(1)
