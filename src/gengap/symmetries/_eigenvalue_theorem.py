"""All but a few eigenvalues of the Hessian above any bound, for the same function."""

from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import Tensor, nn

from gengap._checks import check_positive
from gengap.risk import Risk

from ._blocks import Block, blocks, spread
from ._find import find
from ._rescale import transform
from ._symmetries import Symmetries

_MARGIN = 1.01


@final
@dataclass(frozen=True, kw_only=True)
class RaisedEigenvalues:
    r"""A network of the same function, most of whose eigenvalues exceed a bound.

    Attributes:
        model: The network.
        above: The bound M.
        promised: Eigenvalues of its Hessian that must exceed M: rank less `held_back`.
        rank: Eigenvalues of the given Hessian that count as positive.
        held_back: Parameters whose curvature was not raised.
        held_back_names: Where they are.
        beta: Every other parameter was divided by at least this.
        difference: Largest relative difference of outputs.
    """

    model: nn.Module
    above: float
    promised: int
    rank: int
    held_back: int
    held_back_names: tuple[str, ...]
    beta: float
    difference: float


def raise_eigenvalues(
    risk: Risk,
    eigenvalues: Tensor,
    *,
    above: float,
    symmetries: Symmetries | None = None,
    rank: int | None = None,
) -> RaisedEigenvalues:
    r"""Rescale a network so that all but a few eigenvalues of its Hessian exceed a bound.

    The Hessian of the rescaled network is $D H D$, $D$ the inverse factors. Factors are chosen so
    that $D \ge \beta$ on all parameters but a set of $m$, the smallest possible (a small integer
    program over the places found; for a chain of layers without biases it is the smallest layer,
    as in the paper). On the others' principal submatrix
    $\lambda_i \ge \beta^2 \lambda_{i + m}(H)$, by the theorems of Ostrowski and Cauchy, so at
    least rank - m eigenvalues exceed M when $\beta^2 \lambda_\text{rank}(H) > M$. This holds at
    any point, for the positive eigenvalues.

    Args:
        risk: Model, loss and split; float64 advised.
        eigenvalues: Of its Hessian, all or the largest, in any order.
        above: The bound M.
        symmetries: What `find` returned; None finds them.
        rank: How many eigenvalues from the top to raise; None counts those above 1e-9 of the
            largest.

    Raises:
        ValueError: No rescaling reaches the curvature, or no eigenvalue is positive.

    Source:
        Dinh et al. (2017), arXiv:1703.04933, theorem 5: r - min_k n_k for layers without biases.
        Ours takes any network and counts biases and whatever else cannot be raised.
    """
    check_positive("above", above)
    inputs = next(iter(risk.batches()))[0]
    found = symmetries or find(risk.model, inputs)
    ordered = eigenvalues.detach().double().sort(descending=True).values
    if not len(ordered) or ordered[0] <= 0:
        raise ValueError("`eigenvalues` must have a positive one to raise; got none.")
    many = int((ordered > 1e-9 * ordered[0]).sum()) if rank is None else min(rank, len(ordered))
    parts = blocks(found, {name: p.shape for name, p in risk.params.items()})
    log_factors, held = _choose(parts, len(found.rescalings))
    smallest = float(ordered[many - 1])
    beta = max((_MARGIN * above / smallest) ** 0.5, 1.0)
    log_scales = spread(found, log_factors * float(np.log(beta)))
    changed = _changed(risk, found, log_scales, inputs)
    size = sum(int(part.where.sum()) for part in held)
    return RaisedEigenvalues(
        model=changed.model,
        above=above,
        promised=max(0, many - size),
        rank=many,
        held_back=size,
        held_back_names=tuple(dict.fromkeys(part.name for part in held)),
        beta=beta,
        difference=changed.difference,
    )


def _changed(risk: Risk, found: Symmetries, log_scales: Tensor, inputs: Tensor) -> Any:
    return transform(risk.model, log_scales.exp(), symmetries=found, example_inputs=inputs)


def _choose(parts: list[Block], places: int) -> tuple[Tensor, list[Block]]:
    """Return log-factors that are at most -1 on all blocks but a smallest set, and that set."""
    if not places:
        return torch.zeros(0, dtype=torch.float64), parts
    count, most = len(parts), 2.0 * places + 2
    sizes = np.array([float(part.where.sum()) for part in parts])
    exponents = np.stack([part.exponents.numpy() for part in parts])
    raised = np.hstack([exponents, np.zeros((count, places)), -2 * most * np.eye(count)])
    one, none = np.eye(places), np.zeros((places, count))
    size = np.vstack([np.hstack([one, -one, none]), np.hstack([-one, -one, none])])
    lowest = np.array([0.0 if part.exact else 1.0 for part in parts])
    solved = milp(
        np.concatenate([np.zeros(places), np.full(places, 1e-4 / most), sizes]),
        constraints=[
            LinearConstraint(raised, ub=-np.ones(count)),
            LinearConstraint(size, ub=np.zeros(2 * places)),
        ],
        integrality=np.concatenate([np.zeros(2 * places), np.ones(count)]),
        bounds=Bounds(
            np.concatenate([np.full(places, -most), np.zeros(places), lowest]),
            np.concatenate([np.full(2 * places, most), np.ones(count)]),
        ),
    )
    if solved.x is None:
        raise ValueError(f"`symmetries` must allow a solution; the solver says: {solved.message}.")
    given_up = solved.x[2 * places :] > 0.5
    held = [part for part, up in zip(parts, given_up, strict=True) if up]
    return torch.from_numpy(np.round(solved.x[:places], 9)), held
