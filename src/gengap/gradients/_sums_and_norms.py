"""The recorder that keeps squared norms by example and the sum of gradients."""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from ._one_part import OnePart
from ._part import Part
from ._plan import Plan


@final
class SumsAndNorms(OnePart):
    """Keeps squared norms, and adds up the gradients.

    Attributes:
        norms: Name to the squared norms of every example's gradient so far, a tensor a batch.
        sums: Name to the sum of the gradients since `fold`, in the model's dtype.
        totals: Name to the sum before that, float64.
    """

    def __init__(self, params: Mapping[str, Tensor], plan: Plan) -> None:
        """Start from nothing."""
        super().__init__(plan)
        self.params = params
        self.norms: dict[str, list[Tensor]] = {name: [] for name in params}
        self.sums: dict[str, Tensor] = {}
        self.totals: dict[str, Tensor] = {}
        self._ended = 0

    def take(self, name: str, part: Part) -> None:
        """Keep the norms, add the sum."""
        self.norms[name].append(part.squared_norms())
        if name in self.sums:
            part.add_sum_to(self.sums[name])
        else:
            wide = torch.promote_types(self.params[name].dtype, torch.float32)
            self.sums[name] = part.sum().to(wide)

    def end_of_batch(self) -> None:
        """Start the sums of the next batch, and add those of the last to the totals."""
        self._ended += 1
        if self._ended > 1:
            self.fold()

    def fold(self) -> None:
        """Add what has been summed to float64 totals."""
        for name, value in self.sums.items():
            if name in self.totals:
                self.totals[name] += value
            else:
                self.totals[name] = value.double()
        self.sums.clear()

    def gathered(self) -> dict[str, Tensor]:
        """Return the sums: float64, or as computed where one batch was all."""
        if self.totals:
            self.fold()
        return self.totals or self.sums
