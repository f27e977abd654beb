"""Loss and accuracy along the line, or the curve, between two points."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gengap.data import Split
from gengap.risk import Risk

from ._batch_statistics import Statistics
from ._points import Point, as_point, difference, norm
from ._profile import Profile
from ._readings import Progress, read

Alphas = Sequence[float] | Tensor


def line(
    risk: Risk,
    start: Point | None,
    end: Point | None,
    *,
    test: Split | None = None,
    alphas: Alphas | None = None,
    batch_norm: Statistics = "exact",
    statistics: Split | None = None,
    progress: Progress | None = None,
) -> Profile:
    r"""Read loss and accuracy along the line through two points.

    $J(\alpha) = R((1 - \alpha) \theta_0 + \alpha \theta_1)$

    Depends on the parametrization: a rescaling of either end that keeps its function gives
    another line. Exact at every point, sums in float64; between points nothing is known.

    Args:
        risk: Model, loss and train half.
        start: The point at alpha 0: a module, parameters by name, or a .safetensors file of
            weights; None is the risk's own.
        end: The point at alpha 1.
        test: A test half to read too.
        alphas: Where to read; None is 25 points from -1 to 2, 0 and 1 among them.
        batch_norm: BatchNorm statistics at every point: "exact" recomputes them over the
            examples, layer by layer; "average" in one pass, chunk by chunk; "keep" takes the
            model's, which belong to the one point at which it was trained.
        statistics: The examples on which they are recomputed; None is the risk's.
        progress: Called with points done and all points.

    Returns:
        The profile; `.frame()` has one row a point and half.

    Cost:
        One forward pass over each half a point; with BatchNorm one more ("average", or all examples
        in one chunk), or one up to each BatchNorm layer.

    Raises:
        ValueError: A point does not fit the model, or `alphas` is not a row of finite numbers.

    Source:
        Goodfellow, Vinyals, Saxe (2015), arXiv:1412.6544; from -1 to 2, Keskar et al. (2017),
        arXiv:1609.04836, parametric plots.
    """
    where = ascending(alphas, torch.linspace(-1, 2, 25, dtype=torch.float64))
    weights = torch.stack([1 - where, where], 1)
    options = {"test": test, "batch_norm": batch_norm, "statistics": statistics}
    return _between("line", risk, (start, end), where, weights, progress=progress, **options)


def curve(
    risk: Risk,
    start: Point | None,
    end: Point | None,
    *,
    test: Split | None = None,
    alphas: Alphas | None = None,
    batch_norm: Statistics = "exact",
    statistics: Split | None = None,
    progress: Progress | None = None,
) -> Profile:
    r"""Read loss and accuracy along a curved path through two points.

    $J(\alpha) = R(\cos(\alpha \pi / 2) \theta_0 + \sin(\alpha \pi / 2) \theta_1)$

    An ellipse around the origin; beyond [0, 1] it goes on to the ends' negatives.

    Args:
        risk: As of `line`.
        start: As of `line`.
        end: As of `line`.
        test: As of `line`.
        alphas: Where to read; None is 25 points from 0 to 1.
        batch_norm: As of `line`.
        statistics: As of `line`.
        progress: As of `line`.

    Returns:
        The profile; its `length` is the straight distance of the ends.

    Source:
        Keskar et al. (2017), arXiv:1609.04836, appendix D.
    """
    where = ascending(alphas, torch.linspace(0, 1, 25, dtype=torch.float64))
    angle = where * (math.pi / 2)
    weights = torch.stack([angle.cos(), angle.sin()], 1)
    weights[where == 1] = torch.tensor([0.0, 1.0], dtype=torch.float64)
    options = {"test": test, "batch_norm": batch_norm, "statistics": statistics}
    return _between("curve", risk, (start, end), where, weights, progress=progress, **options)


def _between(
    kind: str,
    risk: Risk,
    ends: tuple[Point | None, Point | None],
    where: Tensor,
    weights: Tensor,
    **options: Any,
) -> Profile:
    first, last = as_point(ends[0], risk, name="start"), as_point(ends[1], risk, name="end")
    found = read(risk, (first, last), weights, **options)
    return Profile(
        kind=kind,
        alphas=where,
        losses=found.losses,
        accuracies=found.accuracies,
        length=norm(difference(last, first)),
    )


def ascending(alphas: Alphas | None, usual: Tensor) -> Tensor:
    """Return where to read, float64 [k], ascending.

    Raises:
        ValueError: `alphas` is not a row of finite numbers.
    """
    if alphas is None:
        return usual
    where = torch.as_tensor(alphas, dtype=torch.float64).cpu()
    if where.ndim != 1 or not len(where) or not bool(where.isfinite().all()):
        raise ValueError(f"`alphas` must be a row of finite numbers; got {alphas!r}.")
    return where.sort().values
