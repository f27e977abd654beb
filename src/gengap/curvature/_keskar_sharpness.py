"""The epsilon-sharpness of Keskar et al.: the largest rise of the loss in a small box."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gengap._checks import check_choice, check_count, check_positive
from gengap._streams import streams
from gengap.risk import Risk

from ._ascent import Ascent, Function, ascend
from ._flat_risk import FlatRisk
from ._random_subspace import Columns, random_subspace
from ._regions import Box
from ._sharpness import Sharpness, largest_rise


def keskar_sharpness(
    risk: Risk,
    *,
    epsilon: float = 1e-3,
    subspace: int | None = None,
    columns: Columns = "normal",
    method: Literal["lbfgs", "ascent"] = "lbfgs",
    iterations: int = 10,
    starts: int = 3,
    seed: int = 0,
) -> Sharpness:
    r"""Measure by how much the loss rises at most in a box around the parameters.

    $$\phi = 100 \, \frac{\max_{y \in C_\epsilon} f(x + A y) - f(x)}{1 + f(x)}, \qquad
    C_\epsilon = \{y : |y_i| \le \epsilon (|(A^+ x)_i| + 1)\}$$

    with $A = I$, or a random matrix of `subspace` columns. Units: 100 (1 + f), from 0 up, a
    lower bound of the maximum. The loss is that of all examples in float64 with its exact
    gradient, BatchNorm in evaluation mode. Every search starts at a random point of the box,
    because at a minimum the gradient in the middle is near 0 and a search from there may end at
    once; the units of the search are the box's widths, and its values are scaled so that the
    first step is long.

    Changes under rescaling of the weights: any positive value up to that of the constant
    function 0 belongs to one function (Dinh et al., section 4.3). Cost: about 1.2 `iterations`
    forward-and-backward passes a start.

    Args:
        risk: The risk; at least 0.
        epsilon: Half the width of the box, relative to |x_i| + 1. The paper has 1e-3 and 5e-4.
        subspace: Columns of A, 100 in the paper; None is the full space.
        columns: How the columns of A are drawn, which the paper does not say: "normal" entries
            from N(0, 1); "unit", the same scaled to length 1; "smoothout", as a public
            reimplementation draws them.
        method: "lbfgs", SciPy's L-BFGS-B as in the paper, or "ascent", projected gradient ascent.
        iterations: Most iterations from every start; 10 in the paper.
        starts: Random starts, uniform in the box.
        seed: Of the matrix and the starts.

    Returns:
        The sharpness; the evaluations, how each search ended and the spread over the starts
        beside it, so that a 0 from a search that broke off is seen.

    Source:
        Keskar et al. (2017), arXiv:1609.04836, metric 2.1; the starting points are ours.
    """
    check_positive("epsilon", epsilon)
    check_count("starts", starts)
    check_count("iterations", iterations)
    check_choice("method", method, ("lbfgs", "ascent"))
    if subspace is not None:
        check_count("subspace", subspace)
    flat = FlatRisk.of(risk)
    flat.check_non_negative()
    function, box, push = _space(flat, epsilon, subspace, columns, seed)
    draw = streams(seed)
    found = []
    for start in range(starts):
        first = box.draw(draw("sharpness", "start", start))
        if method == "lbfgs":
            found.append(_lbfgs(function, box, first, iterations))
        else:
            found.append(ascend(function, box, first, steps=iterations))
    return largest_rise(flat, found, factor=100 / (1 + flat.loss), push=push)


def _space(
    flat: FlatRisk, epsilon: float, subspace: int | None, columns: Columns, seed: int
) -> tuple[Function, Box, Callable[[Tensor], Tensor]]:
    """Return the loss on the box, the box, and the way from the box to the parameters."""
    if subspace is None:
        box = Box(epsilon * (flat.start.abs() + 1))
        return lambda y: flat.value_and_gradient(flat.start + y), box, lambda y: y
    device = flat.start.device
    matrix = random_subspace(flat.p, subspace, columns=columns, seed=seed, device=device)

    def function(y: Tensor) -> tuple[float, Tensor]:
        value, gradient = flat.value_and_gradient(flat.start + matrix @ y)
        return value, matrix.transposed(gradient)

    box = Box(epsilon * (matrix.coordinates(flat.start).abs() + 1))
    return function, box, lambda y: matrix @ y


def _lbfgs(function: Function, box: Box, start: Tensor, iterations: int) -> Ascent:
    """Maximize with SciPy's L-BFGS-B, in units of the box's widths; keep the largest value seen."""
    from scipy.optimize import Bounds, minimize

    widths = box.widths
    first, gradient = function(start)
    scale = float((widths * gradient).abs().mean())
    best, spent = (first, start), 1
    if not scale > 0:
        message = "the gradient at the start is zero"
        return Ascent(at=start, value=first, evaluations=spent, message=message)

    def negative(point: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal best, spent
        at = widths * torch.from_numpy(point).to(widths)
        value, gradient = function(at)
        spent += 1
        if value > best[0]:
            best = value, at
        return (first - value) / scale, (-widths * gradient / scale).cpu().numpy()

    result = minimize(
        negative,
        (start / widths).cpu().numpy(),
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(-1.0, 1.0),
        options={"maxiter": iterations, "ftol": 0.0, "gtol": 0.0},
    )
    return Ascent(at=best[1], value=best[0], evaluations=spent, message=str(result.message))
