"""Inner products of all pairs of examples' gradients."""

from typing import final

import torch
from torch import Tensor

from gengap._checks import check_count
from gengap._streams import streams
from gengap.risk import Risk

from ._blocks import per_example_gradients
from ._dots import per_example_dots
from ._engine import run
from ._one_part import OnePart
from ._part import OuterPart, Part
from ._plan import Plan
from ._row_sums import row_gram

_COLUMNS = 1 << 13


def gram(risk: Risk, *, projection: int | None = None, seed: int = 0) -> Tensor:
    r"""Return the Gram matrix of the examples' gradients, $G_{ij} = \langle g_i, g_j \rangle$.

    Exact: block by block of parameters, for linear layers on vectors without materializing a
    gradient. With a projection, from inner products with k random directions of signs,
    $G_{ij} \approx \frac1k \sum_r \langle g_i, v_r \rangle \langle g_j, v_r \rangle$: unbiased,
    with a standard error of at most $\sqrt{(\|g_i\|^2 \|g_j\|^2 + G_{ij}^2) / k}$ (on the diagonal
    $\sqrt{2/k}$ of the entry).

    Cost: exact, n^2 p products and a pass for each group of blocks that fits in memory; with a
    projection, k forward-mode passes and n k numbers.

    Args:
        risk: Model, loss and n examples.
        projection: Number of directions k; None is exact.
        seed: Of the directions.

    Returns:
        float64 [n, n], symmetric.

    Raises:
        ValueError: `projection` is below 1.
    """
    if projection is not None:
        check_count("projection", projection)
        return _projected(risk, projection, seed)
    total, linear = _linear_layers(risk)
    for _, gradients in per_example_gradients(risk, without=linear):
        rows = gradients.reshape(risk.n, -1)
        for columns in rows.split(_COLUMNS, 1):
            total += row_gram(columns)
    return total


def _linear_layers(risk: Risk) -> tuple[Tensor, set[str]]:
    """Return the share of parameters whose parts are outer products, and their names."""
    recorder, _ = run(risk, _Factors)
    total = torch.zeros(risk.n, risk.n, dtype=torch.float64, device=risk.device)
    for parts in recorder.factors.values():
        inputs = torch.cat([part.inputs for part in parts])
        deltas = torch.cat([part.deltas for part in parts])
        total += OuterPart(inputs, deltas).gram()
    return total, set(recorder.factors)


@final
class _Factors(OnePart):
    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.factors: dict[str, list[OuterPart]] = {}

    def take(self, name: str, part: Part) -> None:
        if isinstance(part, OuterPart):
            self.factors.setdefault(name, []).append(part)


def _projected(risk: Risk, directions: int, seed: int) -> Tensor:
    draw = streams(seed)
    products = []
    for r in range(directions):
        generator = draw("gram", "directions", str(r))
        direction = {
            name: torch.randint(0, 2, p.shape, generator=generator).mul_(2).sub_(1)
            for name, p in risk.params.items()
        }
        products.append(per_example_dots(risk, direction))
    rows = torch.stack(products, 1)
    return rows @ rows.T / directions
