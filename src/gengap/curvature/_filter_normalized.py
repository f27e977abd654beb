"""Random directions with the norms of a network's filters, and what lies along them."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from gengap._checks import check_count, check_positive
from gengap._streams import streams
from gengap.data import Split
from gengap.risk import Risk

from ._batch_statistics import Statistics
from ._line import Alphas, ascending
from ._plane import plane_along
from ._points import Point, as_point, norm
from ._profile import Profile
from ._readings import Progress, read
from ._surface import Surface

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)


def filter_normalized_directions(
    risk: Risk, *, count: int = 2, center: Point | None = None, seed: int = 0
) -> list[dict[str, Tensor]]:
    r"""Draw random directions, each filter as long as the network's own.

    $d_f = \frac{g_f}{\|g_f\|} \|\theta_f\|$ with $g_f$ standard normal

    A filter is what makes one unit or channel: a row of a matrix, an output channel of a
    convolution, a vector of an embedding. Biases, and the parameters of normalization layers,
    are left alone: their part is zero. The directions are orthogonal, and so are their parts
    in every filter (of a filter with fewer weights than there are directions, later parts are
    zero). What is seen along them stays where a whole layer is rescaled and the next one back,
    but for the biases; it does not where single units are.

    Args:
        risk: The network.
        count: How many.
        center: Whose norms; None is the risk's own.
        seed: Root of the draws.

    Returns:
        Directions by parameter, float64.

    Source:
        Li, Xu, Taylor, Studer, Goldstein (2018), arXiv:1712.09913, section 4. Theirs are not
        made orthogonal, which random directions nearly are.
    """
    check_count("count", count)
    point = as_point(center, risk, name="center")
    found = [{name: torch.zeros_like(value) for name, value in point.items()} for _ in range(count)]
    for name, transposed, groups in _weights(risk.model):
        if name not in point:
            continue
        own = point[name]
        lengths = _filters(own, transposed, groups).norm(dim=1, keepdim=True)
        earlier: list[Tensor] = []
        for turn, direction in enumerate(found):
            generator = streams(seed)("filter-normalized", turn, name)
            drawn = torch.randn(own.shape, generator=generator, dtype=torch.float64)
            unit = _orthonormal(_filters(drawn.to(own.device), transposed, groups), earlier)
            earlier.append(unit)
            direction[name] = _back(unit * lengths, own, transposed, groups)
    return found


def filter_normalized_line(
    risk: Risk,
    *,
    center: Point | None = None,
    test: Split | None = None,
    alphas: Alphas | None = None,
    seed: int = 0,
    batch_norm: Statistics = "exact",
    statistics: Split | None = None,
    progress: Progress | None = None,
) -> Profile:
    """Read loss and accuracy along a filter-normalized random direction.

    Args:
        risk: As of `line`.
        center: The point at alpha 0; None is the risk's own.
        test: As of `line`.
        alphas: Multiples of the direction; None is 25 points from -1 to 1.
        seed: Root of the draws.
        batch_norm: As of `line`.
        statistics: As of `line`.
        progress: As of `line`.
    """
    where = ascending(alphas, torch.linspace(-1, 1, 25, dtype=torch.float64))
    (direction,) = filter_normalized_directions(risk, count=1, center=center, seed=seed)
    found = read(
        risk,
        (as_point(center, risk, name="center"), direction),
        torch.stack([torch.ones_like(where), where], 1),
        test=test,
        batch_norm=batch_norm,
        statistics=statistics,
        progress=progress,
    )
    return Profile(
        kind="random line",
        alphas=where,
        losses=found.losses,
        accuracies=found.accuracies,
        length=norm(direction),
    )


def filter_normalized_plane(
    risk: Risk,
    *,
    center: Point | None = None,
    test: Split | None = None,
    extent: float = 1.0,
    size: int = 21,
    seed: int = 0,
    batch_norm: Statistics = "exact",
    statistics: Split | None = None,
    progress: Progress | None = None,
) -> Surface:
    """Read loss and accuracy over the plane of two filter-normalized random directions.

    One plane is one draw of two out of many directions; look at several seeds.

    Args:
        risk: As of `line`.
        center: The point at (0, 0); None is the risk's own.
        test: As of `line`.
        extent: x and y go from minus to plus this; at 1 every filter is moved by its own norm.
        size: Points a side.
        seed: Root of the draws.
        batch_norm: As of `line`.
        statistics: As of `line`.
        progress: As of `line`.
    """
    check_positive("extent", extent)
    first, second = filter_normalized_directions(risk, center=center, seed=seed)
    found = plane_along(
        risk,
        first,
        second,
        center=center,
        test=test,
        extent=extent,
        size=size,
        batch_norm=batch_norm,
        statistics=statistics,
        progress=progress,
    )
    axes = ("First random direction", "Second random direction")
    return replace(found, kind="random plane", axes=axes)


def _weights(model: nn.Module) -> list[tuple[str, bool, int]]:
    """Return the parameters that have filters: name, whether a transposed one's, groups."""
    found = []
    for path, module in model.named_modules():
        if isinstance(module, _NORMS):
            continue
        for name, value in module.named_parameters(path, recurse=False):
            if value.ndim > 1:
                transposed = isinstance(module, _TRANSPOSED)
                found.append((name, transposed, module.groups if transposed else 1))
    return found


def _filters(weight: Tensor, transposed: bool, groups: int) -> Tensor:
    """Return a weight as one row a filter."""
    if not transposed:
        return weight.flatten(1)
    return weight.unflatten(0, (groups, -1)).movedim(2, 1).flatten(0, 1).flatten(1)


def _back(rows: Tensor, weight: Tensor, transposed: bool, groups: int) -> Tensor:
    """Return rows of filters in the shape of their weight."""
    if not transposed:
        return rows.view(weight.shape)
    split = (groups, weight.shape[1], weight.shape[0] // groups, *weight.shape[2:])
    return rows.view(split).movedim(1, 2).reshape(weight.shape)


def _orthonormal(rows: Tensor, earlier: list[Tensor]) -> Tensor:
    """Return unit rows, each orthogonal to the same row of the earlier ones, or zero."""
    for _ in range(2):
        for other in earlier:
            rows = rows - (rows * other).sum(1, keepdim=True) * other
    lengths = rows.norm(dim=1, keepdim=True)
    known = len(earlier) < rows.shape[1]
    return torch.where(lengths > 0, rows / lengths, 0.0) if known else torch.zeros_like(rows)
