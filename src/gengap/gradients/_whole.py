"""Gradients of chosen parameters by differentiating the whole model, example by example."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.func import grad, vmap

from gengap._functional import functional_call
from gengap._reentrant import parameter_gradients
from gengap.risk import Risk

from ._plan import Plan
from ._vectorized import vectorized

_FLOATS_A_CHUNK = 1 << 22
_MOST_EXAMPLES = 32


def whole_model_gradients(
    risk: Risk, names: Sequence[str], plan: Plan
) -> Iterator[dict[str, Tensor]]:
    """Yield the gradients [b, *shape] of a few examples after the other, by parameter name.

    Vectorized over the examples; where the model's code cannot be (it branches on numbers), one
    example at a time, which is exact for every model that treats its examples apart.
    """
    params = dict(risk.model.named_parameters())
    point = {name: params[name].detach() for name in names}
    size = _FLOATS_A_CHUNK // max(1, sum(p.numel() for p in point.values()))
    size = max(1, min(_MOST_EXAMPLES, size, risk.chunk))
    for x, y in risk.batches():
        for xs, ys in zip(x.split(size), y.split(size), strict=True):
            if not plan.one_by_one:
                try:
                    yield _vectorized(risk, point, xs, ys)
                    continue
                except (RuntimeError, ValueError, TypeError):
                    plan.one_by_one = True
            yield _one_by_one(risk, point, xs, ys)


def _vectorized(risk: Risk, point: dict[str, Tensor], xs: Tensor, ys: Tensor) -> dict[str, Tensor]:
    held = {
        name: value.detach()
        for name, value in (*risk.model.named_parameters(), *risk.model.named_buffers())
        if name not in point
    }

    def loss(point: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        outputs = functional_call(risk.model, {**held, **point}, (x.unsqueeze(0),))
        return risk.losses(outputs, y.unsqueeze(0))[0]

    with vectorized():
        found: dict[str, Tensor] = vmap(grad(loss), in_dims=(None, 0, 0))(point, xs, ys)
    return {name: value.detach() for name, value in found.items()}


def _one_by_one(risk: Risk, point: dict[str, Tensor], xs: Tensor, ys: Tensor) -> dict[str, Tensor]:
    params = dict(risk.model.named_parameters())
    chosen = [params[name] for name in point]
    rows: dict[str, list[Tensor]] = {name: [] for name in point}
    for x, y in zip(xs.split(1), ys.split(1), strict=True):
        with torch.enable_grad():
            loss = risk.losses(risk.model(x), y)[0]
        grads = parameter_gradients(loss, chosen)
        for name, p, g in zip(point, chosen, grads, strict=True):
            rows[name].append(torch.zeros_like(p) if g is None else g)
    return {name: torch.stack(parts) for name, parts in rows.items()}
