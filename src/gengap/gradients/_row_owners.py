"""Whether the rows of a layer are those of the examples they are taken for, batch by batch."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gengap.risk import Risk

from ._image_layout import last
from ._intercept import bare, intercepted
from ._one_part import OnePart
from ._part import Part
from ._plan import Plan
from ._trial import Arguments, aside

_MOVING = frozenset({
    "argsort", "index_add", "index_copy", "index_put", "index_put_", "index_select",
    "masked_scatter", "masked_scatter_", "masked_select", "msort", "nonzero", "nonzero_static",
    "pack_padded_sequence", "_pack_padded_sequence", "scatter", "scatter_", "scatter_add",
    "scatter_add_", "sort", "take", "topk", "unique", "unique_consecutive",
})  # fmt: skip
"""Functions that may send rows to where the data say."""


@final
class Movers(TorchFunctionMode):
    """Notes whether rows may be moved, or left out, by what the data say.

    Attributes:
        found: Whether a function was called that may.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found = False

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if args and isinstance(args[0], Tensor) and not isinstance(args[0], nn.Parameter):
            self.found |= _moves(getattr(func, "__name__", ""), args)
        return func(*args, **(kwargs or {}))


def _moves(name: str, args: tuple[Any, ...]) -> bool:
    if name in ("__getitem__", "__setitem__"):
        places = args[1] if isinstance(args[1], tuple) else (args[1],)
        return any(isinstance(place, Tensor | list) for place in places)
    if name in ("gather", "take_along_dim"):  # of whole numbers: kinds of tokens, not rows
        return bool(args[0].is_floating_point())
    return name in _MOVING


def moves_rows(module: nn.Module, arguments: Arguments) -> bool:
    """Whether a module, called with a few examples, may move rows by what the data say."""
    with bare(module), aside(module), torch.no_grad(), suppress(Exception), Movers() as movers:
        module(*arguments[0], **arguments[1])
    return movers.found


def misplaced(risk: Risk, plan: Plan, params: Mapping[str, Tensor]) -> set[str]:
    """Return the parameters whose gradients are not those of the examples they are taken for.

    Twice the loss of an example is twice its gradient: norms of a backward pass in which each
    example has another weight are compared with those of one in which all have weight one.

    Cost: two forward and backward passes.
    """
    found: set[str] = set()
    eps = torch.finfo(risk.dtype).eps
    for x, y in risk.batches():
        size = plan.chunk(len(x))
        x = last(x) if plan.channels_last else x
        for xs, ys in zip(x.split(size), y.split(size), strict=True):
            draw = torch.Generator().manual_seed(len(xs))
            weights = 1 + 3 * torch.rand(len(xs), generator=draw, dtype=torch.float64)
            plain = _norms(risk, plan, params, xs, ys, torch.ones_like(weights))
            weighted = _norms(risk, plan, params, xs, ys, weights)
            least = eps * sum(float(norms.max()) for norms in plain.values())
            for name, norms in plain.items():
                expected = weights.square() * norms
                apart = (weighted[name] - expected).abs() > 4 * eps**0.5 * expected + least
                if bool(apart.any()):
                    found.add(name)
    return found


def _norms(
    risk: Risk, plan: Plan, params: Mapping[str, Tensor], x: Tensor, y: Tensor, weights: Tensor
) -> dict[str, Tensor]:
    recorder, names = _Norms(plan), {id(p): name for name, p in params.items()}
    known: dict[str, Any] = {"axes": plan.axes, "apart": plan.apart, "names": names}
    with torch.enable_grad(), intercepted(risk.model, recorder, **known):
        recorder.start(len(x))
        losses = risk.losses(risk.model(x), y)
        total = (losses * weights.to(losses)).sum()
        if total.requires_grad:
            recorder.differentiates(total)
            torch.autograd.grad(total, list(params.values()), allow_unused=True)
        recorder.finish()
    return recorder.norms


@final
class _Norms(OnePart):
    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.norms: dict[str, Tensor] = {}

    def take(self, name: str, part: Part) -> None:
        """Keep the norms."""
        self.norms[name] = part.squared_norms().cpu()
