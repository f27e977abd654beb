"""Loss and accuracy over a part of a plane, or a curved patch, in parameter space."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Surface:
    """Loss and accuracy at points (x, y), rows of equal y from the lowest up.

    Attributes:
        kind: "plane", "random plane", "triangle" or "quad".
        x: First coordinate, float64 [k].
        y: Second coordinate, float64 [k].
        losses: Half ("train", "test") to mean losses, float64 [k].
        accuracies: Half to accuracies in [0, 1], float64 [k]; NaN without classes.
        named: Named points and their coordinates.
        axes: What x and y are.
        weights: Of a triangle or quad, the weight of each corner, name to float64 [k].
    """

    kind: str
    x: Tensor
    y: Tensor
    losses: dict[str, Tensor]
    accuracies: dict[str, Tensor]
    named: dict[str, tuple[float, float]]
    axes: tuple[str, str] = ("x", "y")
    weights: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        return f"Surface({self.kind}, {len(self)} points, {', '.join(self.losses)})"

    def frame(self) -> "pd.DataFrame":
        """Return one row a point and half: x, y, half, loss, accuracy, weights of the corners."""
        import pandas as pd

        parts = [
            pd.DataFrame({
                "x": self.x.numpy(),
                "y": self.y.numpy(),
                "half": half,
                "loss": losses.numpy(),
                "accuracy": self.accuracies[half].numpy(),
                **{f"weight of {name}": row.numpy() for name, row in self.weights.items()},
            })
            for half, losses in self.losses.items()
        ]
        return pd.concat(parts, ignore_index=True)


def grid(xs: Tensor, ys: Tensor) -> tuple[Tensor, Tensor]:
    """Return the coordinates of all pairs, y slowest."""
    y, x = torch.meshgrid(ys, xs, indexing="ij")
    return x.reshape(-1), y.reshape(-1)
