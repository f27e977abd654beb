"""Which elements of the parameters belong to which unit, and what a permutation moves where."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor, nn


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Exchange:
    """Numbers of units of parameters and running statistics.

    Attributes:
        units: Name to (rows, columns): the unit's number from 1, 0 for none, in shapes that
            broadcast to the parameter's. An element belongs to one unit as a row, to one as a
            column.
        count: Number of units.
    """

    units: Mapping[str, tuple[Tensor, Tensor]]
    count: int

    def apply(self, tensors: Mapping[str, Tensor], order: Tensor) -> None:
        """Move elements in place: what belonged to unit i then belongs to unit order[i]."""
        moved = torch.cat([torch.zeros(1, dtype=torch.int64), order + 1])
        for name, labels in self.units.items():
            target = tensors[name]
            keys = [part.expand(target.shape).reshape(-1) for part in labels]
            if all(torch.equal(moved[key], key) for key in keys):
                continue
            place = np.arange(target.numel())
            new = np.lexsort((place, *(key.numpy() for key in keys)))
            old = np.lexsort((place, *(moved[key].numpy() for key in keys)))
            flat = target.detach().reshape(-1).clone()
            result = flat.clone()
            result[torch.from_numpy(new)] = flat[torch.from_numpy(old)]
            with torch.no_grad():
                target.copy_(result.view(target.shape))


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}
