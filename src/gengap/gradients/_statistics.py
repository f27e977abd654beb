"""Statistics of the gradients of every example of a risk."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, vmap

from gengap.risk import Risk

from ._engine import run
from ._part import squared_row_norms
from ._sums_and_norms import SumsAndNorms

Direction = Mapping[str, Tensor]


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
        squares = [squared_row_norms(v.reshape(1, -1)) for v in self.computed_sum.values()]
        return float(torch.stack(squares).sum() / self.squared_norms.sum())


def gradient_statistics(risk: Risk, *, check: bool = False) -> GradientStatistics:
    """Return squared norms, sum and losses of the gradients of every example."""
    params = risk.params
    recorder, losses = run(
        risk, lambda plan: SumsAndNorms(params, left_out=plan.whole, several=plan.several)
    )
    sums = recorder.gathered()
    zeros = torch.zeros(risk.n, dtype=torch.float64, device=risk.device)
    return GradientStatistics(
        block_squared_norms={
            name: torch.cat(parts) if parts else zeros for name, parts in recorder.norms.items()
        },
        computed_sum={k: sums[k] if k in sums else torch.zeros_like(v) for k, v in params.items()},
        losses=losses,
    )


def per_example_squared_norms(risk: Risk) -> Tensor:
    """Return the squared norm of every example's gradient, float64 [n]."""
    return gradient_statistics(risk).squared_norms


def per_example_block_dots(risk: Risk, direction: Direction) -> dict[str, Tensor]:
    """Return every example's inner products with a direction, parameter by parameter, [n]."""
    parts: dict[str, list[Tensor]] = {name: [] for name in risk.params}
    for grads, _ in _chunks(risk):
        for name, g in grads.items():
            v = direction[name].to(g.device, torch.float64)
            parts[name].append((g.double() * v).flatten(1).sum(1))
    return {name: torch.cat(values) for name, values in parts.items()}


def per_example_dots(risk: Risk, direction: Direction) -> Tensor:
    """Return the inner product of every example's gradient with a direction, float64 [n]."""
    return torch.stack(list(per_example_block_dots(risk, direction).values())).sum(0)


def per_example_gradients(risk: Risk) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, gradients [n, ...]) of one parameter after the other."""
    chunks = [grads for grads, _ in _chunks(risk)]
    for name in risk.params:
        yield name, torch.cat([grads[name] for grads in chunks])


def _chunks(risk: Risk) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    held = {name: p.detach() for name, p in risk.model.named_parameters()}
    buffers = dict(risk.model.named_buffers())

    def one(point: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        outputs = functional_call(risk.model, {**held, **buffers, **point}, (x[None],))
        return risk.losses(outputs, y[None]).squeeze(0)

    for x, y in risk.batches():
        yield vmap(grad_and_value(one), in_dims=(None, 0, 0))(risk.params, x, y)
