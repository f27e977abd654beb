"""Statistics of the gradients of every example of a risk."""

from dataclasses import dataclass
from functools import cached_property, partial
from typing import final

import torch
from torch import Tensor

from gengap.risk import Risk

from ._engine import run
from ._part import DensePart
from ._probe import trained
from ._sample_coherence import sample_m_coherence
from ._self_check import check_norms, check_sums
from ._sums_and_norms import SumsAndNorms

_CHECKED = 32
_SMALL = 1 << 16  # below, one call costs more than the sum


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class GradientStatistics:
    """What one pass over the examples says about their gradients.

    Attributes:
        block_squared_norms: Squared norm of every example's gradient with respect to each
            parameter, name to float64 [n].
        computed_sum: Sum of the gradients over the n examples, name to tensor: float64 where
            batches were added up, as computed where there was one.
        losses: Loss of every example, float64 [n].
    """

    block_squared_norms: dict[str, Tensor]
    computed_sum: dict[str, Tensor]
    losses: Tensor

    @cached_property
    def squared_norms(self) -> Tensor:
        """Squared norm of every example's gradient, float64 [n]."""
        return torch.stack(list(self.block_squared_norms.values())).sum(0)

    @cached_property
    def sum(self) -> dict[str, Tensor]:
        """Sum of the gradients over the n examples, name to float64 tensor."""
        return {name: value.double() for name, value in self.computed_sum.items()}

    @property
    def m_coherence(self) -> float:
        r"""$\|\sum_i g_i\|^2 / \sum_i \|g_i\|^2$, in [0, n]; NaN where all gradients are zero."""
        sums = [value.reshape(1, -1) for value in self.computed_sum.values()]
        small = [row for row in sums if row.shape[1] <= _SMALL]
        rows = [row for row in sums if row.shape[1] > _SMALL]
        if small:
            rows.append(torch.cat(small, dim=1))
        of_sum = torch.cat([DensePart(row).squared_norms() for row in rows]).sum()
        return sample_m_coherence(float(of_sum), float(self._total), len(self.losses))

    @cached_property
    def _total(self) -> Tensor:
        return torch.cat(list(self.block_squared_norms.values())).sum()


def gradient_statistics(risk: Risk, *, check: bool = False) -> GradientStatistics:
    """Return squared norms, sum and losses of the gradients of every example.

    Norms and sum come from the same products, layer by layer, in the backward pass; gradients of
    linear layers are never materialized, those of convolutions for 32 examples at a time. Exact
    for every model that treats its examples apart: layers without a rule by a vectorized local
    product, parameters that reach the loss another way by the model as a whole.

    Cost: a forward and a backward pass, plus a tenth for linear layers and up to two fifths for
    small residual networks (docs/benchmarks.md); memory of a pass over 32 examples.

    Args:
        risk: Model, loss and examples.
        check: Whether to hold the first 32 examples' sum against `.grad`, and the norms of the
            first batch, and of 32 examples from all over the data, against each alone. Takes a
            pass of one example for each.

    Returns:
        The statistics, of examples in the order of the split.

    Raises:
        ValueError: With `check`, a parameter's parts do not add up; it is named.

    Examples:
        >>> from gengap.data import as_split
        >>> x, y = torch.tensor([[1.0], [3.0]]), torch.zeros(2, 1)
        >>> line = torch.nn.Linear(1, 1, bias=False)
        >>> _ = torch.nn.init.constant_(line.weight, 2.0)
        >>> risk = Risk(line, as_split(x, y, regression=True), loss="squared_error")
        >>> statistics = gradient_statistics(risk, check=True)
        >>> statistics.squared_norms.tolist(), statistics.sum["weight"].tolist()
        ([4.0, 324.0], [[20.0]])
    """
    params = trained(risk.model)
    recorder, losses = run(risk, partial(SumsAndNorms, params), params)
    sums = recorder.gathered()
    zeros = torch.zeros(risk.n, dtype=torch.float64, device=risk.device)
    norms = {k: torch.cat(parts) if parts else zeros for k, parts in recorder.norms.items()}
    if check:
        first = risk[: min(risk.n, risk.chunk, _CHECKED)]
        check_sums(first, lambda risk: gradient_statistics(risk).computed_sum)
        spread = torch.linspace(0, risk.n - 1, min(risk.n, _CHECKED)).long().tolist()
        check_norms(risk, norms, sorted({*range(min(risk.n, risk.chunk)), *spread}))
    return GradientStatistics(
        block_squared_norms=norms,
        computed_sum={k: sums[k] if k in sums else torch.zeros_like(v) for k, v in params.items()},
        losses=losses,
    )


def per_example_squared_norms(risk: Risk) -> Tensor:
    """Return the squared norm of every example's gradient, float64 [n]."""
    return gradient_statistics(risk).squared_norms
