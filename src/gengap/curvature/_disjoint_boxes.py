"""Theorem 2 of Dinh et al. by construction: low loss has infinite volume."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from gengap._checks import check_count, check_positive
from gengap._streams import streams
from gengap.risk import Risk

from ._ascent import ascend
from ._flat_risk import FlatRisk
from ._regions import Box

if TYPE_CHECKING:
    import pandas as pd

_SAME = 1e-6
_HALVINGS = 60
_STEPS = 20


@final
@dataclass(frozen=True, kw_only=True)
class DisjointBoxes:
    r"""Boxes of low loss without end, no two of which meet.

    Box k is the image of box 0 under k times the rescaling by `factor`.

    Attributes:
        factor: Factor $\alpha$ between neighbours.
        half_width: $r'$, half the width of box 0.
        loss: The loss at the point.
        epsilon: The rise that the boxes stay below.
        log_volumes: Natural logarithm of the volume of every box; not falling.
        intervals: What every box covers along one coordinate; no two meet.
        largest_losses: The largest loss found in every box, by ascent and at random points.
    """

    factor: float
    half_width: float
    loss: float
    epsilon: float
    log_volumes: tuple[float, ...]
    intervals: tuple[tuple[float, float], ...]
    largest_losses: tuple[float, ...]

    @property
    def log_volume(self) -> float:
        """Logarithm of the volume of all boxes here; it grows without limit with their number."""
        return float(torch.tensor(self.log_volumes, dtype=torch.float64).logsumexp(0))

    def frame(self) -> "pd.DataFrame":
        """Return a row a box: its volume, what it covers along one coordinate, its loss."""
        import pandas as pd

        return pd.DataFrame({
            "box": range(len(self.log_volumes)),
            "log_volume": self.log_volumes,
            "from": [low for low, _ in self.intervals],
            "to": [high for _, high in self.intervals],
            "largest_loss": self.largest_losses,
        })


def disjoint_boxes(
    risk: Risk,
    *,
    first: Sequence[str],
    second: Sequence[str],
    epsilon: float = 0.01,
    boxes: int = 5,
    points: int = 16,
    seed: int = 0,
) -> DisjointBoxes:
    r"""Show that the region of low loss around a rectified network has infinite volume.

    For a network unchanged by $T_\alpha: (\theta_1, \theta_2) \to (\alpha \theta_1, \theta_2 /
    \alpha)$, takes a box B around $\theta$ with loss below $L(\theta) + \epsilon$ and
    $\alpha = 2 (\|\theta_1\|_\infty + r') / (\|\theta_1\|_\infty - r')$. Then $B, T_\alpha B,
    T_\alpha^2 B, \dots$ do not meet, none is smaller than the one before, and the loss in all of
    them is that in B. That B stays low is checked by ascent and at random points, not proven.

    Args:
        risk: The risk; computed in float64.
        first: Names of the parameters that are multiplied: weights and biases of one layer.
        second: Names of those that are divided: weights of the next. The larger of both groups
            takes the part of $\theta_1$.
        epsilon: Rise of the loss, in its units.
        boxes: How many boxes.
        points: Random points tried in each.
        seed: Of the points.

    Raises:
        ValueError: A group is zero, or the function changes when they are rescaled.

    Source:
        Dinh et al. (2017), arXiv:1703.04933, theorem 2 and its proof.
    """
    check_positive("epsilon", epsilon)
    check_count("boxes", boxes)
    check_count("points", points)
    flat = FlatRisk.of(risk)
    grown, shrunk = (_mask(flat, names, option) for names, option in
                     ((first, "first"), (second, "second")))  # fmt: skip
    if grown.sum() < shrunk.sum():
        grown, shrunk = shrunk, grown
    top = float(flat.start[grown].abs().max())
    if not (top > 0 and flat.start[shrunk].any()):
        raise ValueError("`first` and `second` must both have weights other than 0; got zeros.")
    offsets = _offsets(flat, points, seed)
    half_width, base = _box(flat, grown | shrunk, offsets, 0.5 * top, epsilon)
    factor = 2 * (top + half_width) / (top - half_width)
    excess = int(grown.sum()) - int(shrunk.sum())
    size = int((grown | shrunk).sum()) * math.log(2 * half_width)
    losses = []
    for k in range(boxes):
        scales = torch.ones_like(flat.start)
        scales[grown] *= factor**k
        scales[shrunk] /= factor**k
        at = [flat.value(scales * (flat.start + half_width * o)) for o in [*offsets, base]]
        losses.append(max(at))
        _check_same(flat.value(scales * flat.start), flat.loss)
    return DisjointBoxes(
        factor=factor,
        half_width=half_width,
        loss=flat.loss,
        epsilon=epsilon,
        log_volumes=tuple(size + k * excess * math.log(factor) for k in range(boxes)),
        intervals=tuple(
            (factor**k * (top - half_width), factor**k * (top + half_width)) for k in range(boxes)
        ),
        largest_losses=tuple(losses),
    )


def _mask(flat: FlatRisk, names: Sequence[str], option: str) -> Tensor:
    if not names or not set(names) <= set(flat.shapes):
        raise ValueError(
            f"`{option}` must name parameters, of {', '.join(flat.shapes)}; got {list(names)}."
        )
    parts = [
        torch.full((shape.numel(),), name in names, dtype=torch.bool, device=flat.start.device)
        for name, shape in flat.shapes.items()
    ]
    return torch.cat(parts)


def _offsets(flat: FlatRisk, points: int, seed: int) -> list[Tensor]:
    draw, box = streams(seed), Box(torch.ones_like(flat.start))
    return [box.draw(draw("boxes", i)) for i in range(points)]


def _box(
    flat: FlatRisk, inside: Tensor, offsets: list[Tensor], half_width: float, epsilon: float
) -> tuple[float, Tensor]:
    """Return half the width of a box of low loss, and where in it the loss is largest."""
    for offset in offsets:
        offset[~inside] = 0.0
    for _ in range(_HALVINGS):
        box = Box(half_width * inside.to(flat.start))
        found = [
            ascend(
                lambda d: flat.value_and_gradient(flat.start + d), box, half_width * o, steps=_STEPS
            )
            for o in offsets[:2]
        ]
        best = max(found, key=lambda ascent: ascent.value)
        values = [flat.value(flat.start + half_width * offset) for offset in offsets]
        if max(best.value, *values) - flat.loss < epsilon:
            return half_width, best.at / half_width
        half_width /= 2
    raise ValueError(
        f"`epsilon` must leave room around the point; in a box of half width {half_width:.3g} the "
        f"loss still rises by more than {epsilon!r}."
    )


def _check_same(value: float, loss: float) -> None:
    if not abs(value - loss) <= _SAME * (1 + abs(loss)):
        raise ValueError(
            f"`first` and `second` must be parameters that can be rescaled without a change of the "
            f"function; the loss went from {loss:.6g} to {value:.6g}."
        )
