"""Sums over the examples of the squares of their gradients, entry by entry."""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from gengap.risk import Risk

from ._engine import run
from ._one_part import OnePart
from ._part import Part
from ._plan import Plan
from ._probe import trained


def sums_of_squares(risk: Risk) -> dict[str, Tensor]:
    r"""Return the sum over the examples of the square of every entry of their gradients.

    $s_j = \sum_{i=1}^n g_{ij}^2$, of the gradients $g_i = \nabla \ell_i$ of single examples: n
    times the diagonal of the empirical Fisher matrix. Of a linear layer it is a product of the
    squares of two matrices, $(\delta^2)^\top a^2$, and no gradient of an example is written down.

    Cost: one forward and backward pass over the examples; more for layers whose weights an
    example uses at many positions.

    Args:
        risk: Model, loss and examples.

    Returns:
        Name to float64 tensor of the parameter's shape, in units of the loss squared over
        parameters squared.
    """
    params = trained(risk.model)
    recorder, _ = run(risk, lambda plan: _Squares(params, plan), params)
    return recorder.totals


@final
class _Squares(OnePart):
    def __init__(self, params: Mapping[str, Tensor], plan: Plan) -> None:
        super().__init__(plan)
        self.totals = {
            name: torch.zeros_like(p, dtype=torch.float64, requires_grad=False)
            for name, p in params.items()
        }

    def take(self, name: str, part: Part) -> None:
        self.totals[name] += part.sum_of_squares()
