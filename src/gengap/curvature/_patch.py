"""Loss and accuracy within a triangle or a quad of points."""

from collections.abc import Mapping

import torch
from torch import Tensor

from gengap._checks import check_count
from gengap.data import Split
from gengap.risk import Risk

from ._batch_statistics import Statistics
from ._points import Point, as_point
from ._readings import Progress, read
from ._surface import Surface, grid


def triangle(
    risk: Risk,
    corners: Mapping[str, Point | None],
    *,
    test: Split | None = None,
    size: int = 11,
    batch_norm: Statistics = "exact",
    statistics: Split | None = None,
    progress: Progress | None = None,
) -> Surface:
    r"""Read loss and accuracy at the barycentric mixtures of three points.

    $R(w_1 \theta_1 + w_2 \theta_2 + w_3 \theta_3)$ with weights of at least 0 that add up to 1; x
    is the second corner's weight, y the third's.

    Args:
        risk: As of `line`.
        corners: Three names with their points.
        test: As of `line`.
        size: Points a side; size (size + 1) / 2 points are read.
        batch_norm: As of `line`.
        statistics: As of `line`.
        progress: As of `line`.

    Returns:
        The surface, with the corners named and their weights.

    Raises:
        ValueError: There are not three corners.

    Source:
        Im, Tao, Branson (2016), arXiv:1612.04010.
    """
    check_count("size", size, least=2)
    if len(corners) != 3:
        raise ValueError(f"`corners` must be three; got {len(corners)}.")
    last = size - 1
    pairs = [(i, j) for j in range(size) for i in range(size - j)]
    x, y = (torch.tensor([pair[k] / last for pair in pairs], dtype=torch.float64) for k in (0, 1))
    first = torch.tensor([(last - i - j) / last for i, j in pairs], dtype=torch.float64)
    return _patch(
        "triangle",
        risk,
        corners,
        {"x": x, "y": y, "weights": torch.stack([first, x, y], 1)},
        test=test,
        batch_norm=batch_norm,
        statistics=statistics,
        progress=progress,
    )


def quad(
    risk: Risk,
    corners: Mapping[str, Point | None],
    *,
    test: Split | None = None,
    size: int = 11,
    batch_norm: Statistics = "exact",
    statistics: Split | None = None,
    progress: Progress | None = None,
) -> Surface:
    r"""Read loss and accuracy at the bilinear mixtures of four points.

    $R\big((1 - y) [(1 - x) \theta_1 + x \theta_2] + y [(1 - x) \theta_3 + x \theta_4]\big)$, x and
    y from 0 to 1. The first two corners are the lower side, the last two the upper.

    Args:
        risk: As of `line`.
        corners: Four names with their points.
        test: As of `line`.
        size: Points a side; size squared points are read.
        batch_norm: As of `line`.
        statistics: As of `line`.
        progress: As of `line`.

    Returns:
        The surface, with the corners named and their weights.

    Raises:
        ValueError: There are not four corners.

    Source:
        Im, Tao, Branson (2016), arXiv:1612.04010.
    """
    check_count("size", size, least=2)
    if len(corners) != 4:
        raise ValueError(f"`corners` must be four; got {len(corners)}.")
    steps = torch.linspace(0, 1, size, dtype=torch.float64)
    x, y = grid(steps, steps)
    weights = torch.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], 1)
    return _patch(
        "quad",
        risk,
        corners,
        {"x": x, "y": y, "weights": weights},
        test=test,
        batch_norm=batch_norm,
        statistics=statistics,
        progress=progress,
    )


def _patch(
    kind: str,
    risk: Risk,
    corners: Mapping[str, Point | None],
    where: Mapping[str, Tensor],
    *,
    test: Split | None,
    batch_norm: Statistics,
    statistics: Split | None,
    progress: Progress | None,
) -> Surface:
    points = [as_point(point, risk, name=name) for name, point in corners.items()]
    weights = where["weights"]
    found = read(
        risk,
        points,
        weights,
        test=test,
        batch_norm=batch_norm,
        statistics=statistics,
        progress=progress,
    )
    names = list(corners)
    places = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)][: len(names)]
    axes = (f"Weight of {names[1]}", f"Weight of {names[2]}")
    return Surface(
        kind=kind,
        x=where["x"],
        y=where["y"],
        losses=found.losses,
        accuracies=found.accuracies,
        named=dict(zip(names, places, strict=True)),
        axes=axes if kind == "triangle" else ("Across", "Up"),
        weights={name: weights[:, turn] for turn, name in enumerate(names)},
    )
