"""Gauss quadrature of a spectrum, as one random vector sees it, by the method of Lanczos."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ._curvature import Curvature
from ._krylov import Krylov

Settled = Callable[[Tensor, Tensor], bool]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Quadrature:
    """Nodes and weights: sum of weights times f(nodes) is z' f(H) z / z' z, to high order.

    Attributes:
        nodes: Ritz values, float64 [k].
        weights: Non-negative, of sum 1, float64 [k].
    """

    nodes: Tensor
    weights: Tensor


def quadrature(
    operator: Curvature, start: Tensor, steps: int, *, settled: Settled | None = None
) -> Quadrature:
    """Return the quadrature of `steps` products from a start vector [p].

    Exact for polynomials of degree 2 k - 1; reorthogonalized in full, so that no node repeats.
    """
    room = min(steps + 1, operator.shape[0])
    krylov = Krylov(operator, room, torch.Generator())
    krylov.start(start)
    for done in range(1, steps + 1):
        krylov.step()
        if krylov.exhausted:
            break
        if settled is not None and done % 5 == 0:
            nodes, coordinates, _ = krylov.ritz()
            if settled(nodes, coordinates[0].square()):
                break
    nodes, coordinates, _ = krylov.ritz()
    return Quadrature(nodes=nodes, weights=coordinates[0].square())
