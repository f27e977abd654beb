"""Constructions that fit any labels: two layers and 2n + d weights, or deeper and narrower."""

import math
from typing import Any

import torch
from torch import Tensor

from gengap._checks import check_count, check_positive
from gengap._errors import DataError

from ._memorized import Achieved, Memorized
from ._projection import Projection, choose_projection, project
from ._ramps import Ramps, ramps_through


def memorize(
    x: Any,
    y: Any,
    *,
    depth: int = 2,
    num_classes: int | None = None,
    tries: int = 8,
    tolerance: float = 1e-6,
    seed: int = 0,
) -> Memorized:
    r"""Construct a ReLU network that fits n examples exactly, without training.

    $$c(x) = \sum_j w_j \max(\langle a, x \rangle - b_j, 0)$$

    with a in R^d and b, w in R^n: 2n + d weights (theorem 1 of Zhang et al.). Of a few random
    directions `a` that is taken on which neighbours with different targets are farthest apart; the
    thresholds and w follow in O(n) (`Ramps`).

    Weights: n (outputs + 1) + d; class indices are fitted as one number, the network gives it
    (2n + d), or with `num_classes` the scores k t - k^2/2 of all classes k (2c more). Depth k > 2
    adds (k - 2)(outputs + 1) ramps that level off each layer, and `outputs` that keep sums above
    zero; its width is ceil(n / (k - 1)) + outputs + 2 at most.

    Where $\langle a, x \rangle$ can be made exact in float64 (pixels, most float32 data), `a` is
    rounded so that it is, and the network gives the same outputs in whatever order a program sums.

    Cost: O(n log n + n d) time with about `tries` passes over x, O(n + d) memory beyond x.

    Args:
        x: Examples, shape [n, ...]; anything `torch.as_tensor` takes.
        y: Targets: numbers of shape [n], or vectors of shape [n, outputs], or class indices.
        depth: Layers of weights, at least 2; `depth - 1` of them are followed by ReLUs.
        num_classes: Give scores of so many classes; y must then hold class indices.
        tries: Directions tried.
        tolerance: Largest error accepted, relative to the largest target or 1.
        seed: Root of the draws.

    Returns:
        The network, in float64 on the CPU, with what it achieved in `.achieved`.

    Raises:
        DataError: NaN, equal examples with different targets, or examples that cannot be told apart
            in float64.
        ValueError: An argument does not fit.

    Source:
        Zhang et al. (2017), arXiv:1611.03530, theorem 1, lemma 1 and corollary 1 (section 4 and
        appendix C). The choice of thresholds and the prefix sums are ours, and so is the deep
        network: a running sum needs no multiplexer and is exact, at the same width and weights.
    """
    x, targets = _examples(x, y, num_classes=num_classes)
    check_count("depth", depth, least=2)
    check_count("tries", tries)
    check_positive("tolerance", tolerance)
    if depth > len(x) + 1:
        raise ValueError(f"`depth` must be at most n + 1 = {len(x) + 1}; got {depth}.")
    chosen = choose_projection(x, targets, tries=tries, seed=seed)
    stages = _stages(project(x, chosen.direction), targets, count=depth - 1)
    module = Memorized(
        chosen.direction,
        stages,
        shift=2 * targets.abs().amax(0) if depth > 2 else None,
        num_classes=num_classes,
        squeeze=torch.as_tensor(y).ndim == 1,
    )
    module.achieved = _achieved(module, x, targets, chosen)
    _refuse_if_inexact(module.achieved, targets, chosen, tolerance)
    return module


def _examples(x: Any, y: Any, *, num_classes: int | None) -> tuple[Tensor, Tensor]:
    """Return examples of shape [n, ...] and targets of shape [n, outputs] in float64."""
    x, y = torch.as_tensor(x).detach().cpu(), torch.as_tensor(y).detach().cpu()
    if x.ndim == 0 or y.ndim not in (1, 2) or len(x) != len(y) or x.numel() == 0 or len(y) == 0:
        raise ValueError(
            "`x` and `y` must have shapes [n, ...] and [n] or [n, outputs], n at least 1; got "
            f"{list(x.shape)} and {list(y.shape)}."
        )
    if x.is_complex() or y.is_complex():
        raise ValueError("`x` and `y` must be real numbers; got complex ones.")
    x = x.reshape(len(x), -1)
    if num_classes is not None:
        check_count("num_classes", num_classes)
        whole = y.ndim == 1 and not y.dtype.is_floating_point
        if not whole or bool((y < 0).any()) or bool((y >= num_classes).any()):
            raise ValueError(
                "`y` must hold class indices below `num_classes` where that is given; got "
                f"{y.dtype} of shape {list(y.shape)}, {y.min()} to {y.max()}."
            )
    targets = y.double().reshape(len(y), -1)
    if not bool(targets.isfinite().all()):
        raise DataError("`y` must be finite; got NaN or infinity: leave those examples out.")
    return x, targets


@torch.no_grad()
def _stages(t: Tensor, y: Tensor, *, count: int) -> list[Ramps]:
    """Return one stage of ramps of t, or more of them, the later ones of max(t - b_1, 0)."""
    order = torch.argsort(t)
    t, y = t[order], y[order]
    span = float(t[-1] - t[0])
    first = t[0] - (span / 8 if span > 0 else 1.0)
    start, value, drift = first, torch.zeros_like(y[0]), torch.zeros_like(y[0])
    stages: list[Ramps] = []
    for place, targets in zip(t.tensor_split(count), y.tensor_split(count), strict=True):
        own = place - first if stages else place
        so_far = value + drift * (place - first)[:, None]
        level = len(stages) < count - 1
        stages.append(ramps_through(own, targets - so_far, start=start, level=level))
        start = place[-1] - first
        if level:  # the rest of slope that rounding leaves is known, and later stages fit to it
            _, values, slopes = stages[-1].pieces()
            value, drift = value + values[-1] - slopes[-1] * start, drift + slopes[-1]
    return stages


@torch.no_grad()
def _achieved(module: Memorized, x: Tensor, y: Tensor, chosen: Projection) -> Achieved:
    """Measure the network on its examples, by its own way from the inputs to the outputs."""
    error = (module.numbers(x) - y).abs().max()
    t = project(x, module.direction)
    slope = chosen.steepest
    largest = float(t.abs().max())
    one, other = chosen.pair
    return Achieved(
        examples=len(x),
        weights=module.num_weights,
        depth=len(module.stages) + 1,
        width=module.width,
        error=math.inf if math.isnan(error) else float(error),
        gap=float((t[one] - t[other]).abs()),
        slope=slope,
        exact_projection=chosen.exact,
        sensitivity=0.0 if chosen.exact else slope * math.ulp(largest),
    )


def _refuse_if_inexact(achieved: Achieved, y: Tensor, chosen: Projection, accepted: float) -> None:
    """Refuse a network that does not fit, and name the examples that are too close."""
    if achieved.error <= accepted * max(1.0, float(y.abs().max())):
        return
    one, other = chosen.pair
    raise DataError(
        f"`x` must be told apart in float64 to fit `y` within {accepted:g}; got an error of "
        f"{achieved.error:.2g}, as examples {one} and {other} are only {achieved.gap:.2g} apart on "
        "the best direction: leave one of them out, or try more directions (`tries`)."
    )
