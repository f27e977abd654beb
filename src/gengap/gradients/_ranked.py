"""Per-example statistics where the examples are shared among ranks."""

from collections.abc import Mapping

import torch
from torch import Tensor

from gengap.data import Ranks
from gengap.risk import Risk

from ._dots import per_example_dots
from ._statistics import GradientStatistics, gradient_statistics


def ranked_statistics(risk: Risk, ranks: Ranks) -> GradientStatistics:
    """Return squared norms, sum and losses of the gradients of every example, on every rank.

    Each rank takes its part of the examples; norms and losses are gathered, sums added up in
    float64. Called by all ranks with the same model and examples. Cost: that of
    `gradient_statistics`, divided by the ranks.

    Args:
        risk: Model, loss and all examples.
        ranks: The processes.
    """
    if ranks.world == 1:
        return gradient_statistics(risk)
    params, part = risk.params, ranks.part(risk.n)
    sums = [torch.zeros_like(p, dtype=torch.float64) for p in params.values()]
    norms = torch.zeros(len(params), part.size, dtype=torch.float64, device=risk.device)
    losses = torch.zeros(part.size, dtype=torch.float64, device=risk.device)
    if part.size:
        own = gradient_statistics(risk[part.start : part.stop])
        sums = [own.sum[name] for name in params]
        norms = torch.stack([own.block_squared_norms[name] for name in params])
        losses = own.losses
    return GradientStatistics(
        block_squared_norms=dict(
            zip(params, ranks.gathered(norms, risk.n, dim=1).unbind(), strict=True)
        ),
        computed_sum=dict(zip(params, ranks.added(sums), strict=True)),
        losses=ranks.gathered(losses, risk.n),
    )


def ranked_dots(risk: Risk, directions: Mapping[str, Tensor], ranks: Ranks) -> Tensor:
    """Return the dot product of every example's gradient with a direction, on every rank."""
    if ranks.world == 1:
        return per_example_dots(risk, directions)
    part = ranks.part(risk.n)
    own = torch.zeros(0, dtype=torch.float64, device=risk.device)
    if part.size:
        own = per_example_dots(risk[part.start : part.stop], directions)
    return ranks.gathered(own, risk.n)
