"""A path of training seen from the line between its ends."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from gengap.risk import Risk

from ._points import Point, as_point, combine, difference, dot, norm

if TYPE_CHECKING:
    import pandas as pd


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectory:
    """Recorded points, split into their place along a line and their distance from it.

    Attributes:
        steps: When each point was recorded, float64 [t].
        projections: Distance along the line from its start, in the units of the parameters,
            float64 [t].
        residuals: Distance from the line, float64 [t].
        length: Distance from the start to the end of the line.
    """

    steps: Tensor
    projections: Tensor
    residuals: Tensor
    length: float

    def __len__(self) -> int:
        return len(self.steps)

    def frame(self) -> "pd.DataFrame":
        """Return one row a point: step, alpha (share of the way), projection, residual."""
        import pandas as pd

        return pd.DataFrame({
            "step": self.steps.numpy(),
            "alpha": (self.projections / self.length).numpy(),
            "projection": self.projections.numpy(),
            "residual": self.residuals.numpy(),
        })


def trajectory(
    risk: Risk,
    points: Iterable[Point],
    *,
    start: Point | None = None,
    end: Point | None = None,
    steps: Sequence[float] | None = None,
) -> Trajectory:
    r"""Look at recorded points from the line between the first and the last.

    With $u$ the unit vector from $\theta_0$ to $\theta_1$: the projection
    $\langle \theta_t - \theta_0, u \rangle$ and the residual $\|\theta_t - \theta_0\|$ without it.

    Args:
        risk: Whose parameters they are; nothing is evaluated.
        points: Points of a run in their order, as of `line`; read one at a time where start and
            end are given.
        start: Where the line starts; None is the first point.
        end: Where it ends; None is the last point.
        steps: When each was recorded; None numbers them.

    Raises:
        ValueError: Start and end are the same point, or there are no points.

    Source:
        Goodfellow, Vinyals, Saxe (2015), arXiv:1412.6544, section on the path of SGD.
    """
    if start is None or end is None:
        points = list(points)
        if not points:
            raise ValueError("`points` must hold at least one point; got none.")
        start = points[0] if start is None else start
        end = points[-1] if end is None else end
    origin = as_point(start, risk, name="start")
    way = difference(as_point(end, risk, name="end"), origin)
    length = norm(way)
    if not length > 0:
        raise ValueError("`start` and `end` must be different points; got the same.")
    along, off = [], []
    for turn, given in enumerate(points):
        gone = difference(as_point(given, risk, name=f"points[{turn}]"), origin)
        along.append(dot(gone, way) / length)
        off.append(norm(combine((gone, way), (1.0, -along[-1] / length))))
    times = list(range(len(along))) if steps is None else list(steps)
    if len(times) != len(along):
        raise ValueError(f"`steps` must be as many as `points`, {len(along)}; got {len(times)}.")
    projections, residuals = (torch.tensor(v, dtype=torch.float64) for v in (along, off))
    return Trajectory(
        steps=torch.tensor(times, dtype=torch.float64),
        projections=projections,
        residuals=residuals,
        length=length,
    )
