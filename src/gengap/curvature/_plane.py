"""Loss and accuracy over a plane in parameter space."""

from collections.abc import Mapping

import torch

from gengap._checks import check_count, check_non_negative, check_positive
from gengap.data import Split
from gengap.risk import Risk

from ._batch_statistics import Statistics
from ._points import Point, as_point, combine, difference, dot, norm
from ._readings import Progress, read
from ._surface import Surface, grid


def plane(
    risk: Risk,
    points: Mapping[str, Point | None],
    *,
    test: Split | None = None,
    size: int = 21,
    margin: float = 0.25,
    batch_norm: Statistics = "exact",
    statistics: Split | None = None,
    progress: Progress | None = None,
) -> Surface:
    r"""Read loss and accuracy over the plane through three points.

    x and y are Euclidean distances in parameter space: the first point is at (0, 0), the second
    at (its distance, 0), the third above or below. Depends on the parametrization, as all that
    measures distances between parameters does.

    Args:
        risk: As of `line`.
        points: Three names with their points, as of `line`.
        test: As of `line`.
        size: Points a side; size squared points are read.
        margin: How far the grid goes beyond the points, as a share of their extent.
        batch_norm: As of `line`.
        statistics: As of `line`.
        progress: As of `line`.

    Returns:
        The surface, with the three points named.

    Raises:
        ValueError: There are not three points, or they lie on one line.

    Source:
        Garipov et al. (2018), arXiv:1802.10026, appendix, for the coordinates.
    """
    check_count("size", size, least=2)
    check_non_negative("margin", margin)
    if len(points) != 3:
        raise ValueError(f"`points` must be three; got {len(points)}.")
    names = list(points)
    corners = [as_point(point, risk, name=name) for name, point in points.items()]
    across, up = (difference(corner, corners[0]) for corner in corners[1:])
    length = norm(across)
    shift = dot(across, up) / length if length else 0.0
    height = norm(combine((up, across), (1.0, -shift / length))) if length else 0.0
    if not height > 1e-9 * norm(up):
        raise ValueError(f"`points` must not lie on one line; got {', '.join(names)}.")
    named = {names[0]: (0.0, 0.0), names[1]: (length, 0.0), names[2]: (shift, height)}
    xs, ys = (_range([place[axis] for place in named.values()], margin, size) for axis in (0, 1))
    x, y = grid(xs, ys)
    third = y / height
    second = (x - third * shift) / length
    found = read(
        risk,
        corners,
        torch.stack([1 - second - third, second, third], 1),
        test=test,
        batch_norm=batch_norm,
        statistics=statistics,
        progress=progress,
    )
    return Surface(
        kind="plane",
        x=x,
        y=y,
        losses=found.losses,
        accuracies=found.accuracies,
        named=named,
        axes=(f"Distance from {names[0]} towards {names[1]}", "Distance across"),
    )


def plane_along(
    risk: Risk,
    first: Mapping[str, torch.Tensor],
    second: Mapping[str, torch.Tensor],
    *,
    center: Point | None = None,
    test: Split | None = None,
    extent: float = 1.0,
    size: int = 21,
    batch_norm: Statistics = "exact",
    statistics: Split | None = None,
    progress: Progress | None = None,
) -> Surface:
    r"""Read loss and accuracy at $\theta + x d_1 + y d_2$.

    Args:
        risk: As of `line`.
        first: The direction of x, by parameter: a random one, an eigenvector unflattened, ...
        second: The direction of y.
        center: The point at (0, 0); None is the risk's own.
        test: As of `line`.
        extent: x and y go from minus to plus this, in lengths of the directions.
        size: Points a side; an odd number reads the center.
        batch_norm: As of `line`.
        statistics: As of `line`.
        progress: As of `line`.

    Returns:
        The surface, with the center named.
    """
    check_count("size", size, least=2)
    check_positive("extent", extent)
    points = [
        as_point(point, risk, name=name)
        for name, point in (("center", center), ("first", first), ("second", second))
    ]
    steps = torch.linspace(-extent, extent, size, dtype=torch.float64)
    x, y = grid(steps, steps)
    found = read(
        risk,
        points,
        torch.stack([torch.ones_like(x), x, y], 1),
        test=test,
        batch_norm=batch_norm,
        statistics=statistics,
        progress=progress,
    )
    return Surface(
        kind="plane",
        x=x,
        y=y,
        losses=found.losses,
        accuracies=found.accuracies,
        named={"center": (0.0, 0.0)},
        axes=("Along the first direction", "Along the second direction"),
    )


def _range(values: list[float], margin: float, size: int) -> torch.Tensor:
    low, high = min(values), max(values)
    beyond = margin * (high - low)
    return torch.linspace(low - beyond, high + beyond, size, dtype=torch.float64)
