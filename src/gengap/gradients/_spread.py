"""A value that all examples have in common gets a row an example."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from ._batch import Batch
from ._graph import is_transformed
from ._part import DensePart
from ._use import Session, asked_for


def spread(
    session: Session,
    value: Tensor,
    shape: tuple[int, ...],
    *,
    pairs: Mapping[str, tuple[Tensor, Tensor]],
    examples: int,
) -> Tensor:
    r"""Return a common value $t(\theta)$, expanded; its rows' gradients are those of examples.

    With $\delta_i$ the gradient by the rows of example i, that by the parameters is
    $\delta_i^\top \, \partial t / \partial \theta$: one vectorized backward pass through the
    graph of the value, which ends at other names of the parameters.

    Args:
        session: The interception.
        value: The value, with its graph.
        shape: What to expand it to: as many rows as the examples have, on the first axis, those
            of an example one after the other. Where it has these rows already, it is left so.
        pairs: Name to where the graph ends and to the parameter itself, for each that it hangs on.
        examples: Number of examples b.
    """
    batch = session.recorder.batch
    ends = {name: end for name, (end, _) in pairs.items()}
    call = _Call(session, value, ends, shape, examples, batch)
    session.enter(tuple(pairs))
    session.meet()
    params = [param for _, param in pairs.values()]
    found: Tensor = _Spread.apply(call, value.detach(), *params)
    return found


@final
@dataclass(frozen=True, eq=False)
class _Call:
    session: Session
    value: Tensor
    ends: Mapping[str, Tensor]
    shape: tuple[int, ...]
    examples: int
    batch: Batch | None

    def by_example(self, delta: Tensor) -> Tensor:
        """Return the gradients of the examples by the value, [b, *shape], from those by rows."""
        b, value = self.examples, self.value
        rows = delta.unflatten(0, (b, -1))
        if value.shape != self.shape:
            return rows.sum(1).reshape(b, *value.shape)
        apart = rows.new_zeros(b, *rows.shape)
        apart[range(b), range(b)] = rows
        return apart.flatten(1, 2)


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: _Call, value: Tensor, *params: Tensor) -> Tensor:
        ctx.call, ctx.params = call, params
        return value.expand(call.shape)

    @staticmethod
    def backward(ctx: Any, delta: Tensor) -> tuple[Tensor | None, ...]:
        call: _Call = ctx.call
        recorder, ends = call.session.recorder, list(call.ends.values())
        if torch.is_grad_enabled() or is_transformed():
            recorder.left(tuple(call.ends))
            total = delta.sum_to_size(call.value.shape)
            return (
                None,
                None,
                *torch.autograd.grad(call.value, ends, total, create_graph=True, allow_unused=True),
            )
        wanted = [True] * len(ends)
        if not recorder.asks_for_all():
            wanted = asked_for(ctx, ctx.params, wanted, first=1)
        found = torch.autograd.grad(
            call.value,
            ends,
            call.by_example(delta).to(call.value.dtype),
            is_grads_batched=True,
            retain_graph=True,
            allow_unused=True,
        )
        parts = {
            name: DensePart(rows)
            for name, rows, want in zip(call.ends, found, wanted, strict=True)
            if rows is not None and want
        }
        recorder.recorded = call.batch
        taken = recorder.record(parts) if parts else {}
        for name, gradient in taken.items():
            if gradient is not None:
                recorder.given(name, gradient)
        return None, None, *(taken.get(name) for name in call.ends)
