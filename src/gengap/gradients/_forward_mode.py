"""Slopes of all examples' losses along one direction, from a single forward pass."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from gengap._functional import functional_call
from gengap.risk import Risk

from ._image_layout import last
from ._plan import Plan
from ._tangent_rules import RULES


def slopes(
    risk: Risk, plan: Plan, params: Mapping[str, Tensor], direction: Mapping[str, Tensor]
) -> Tensor:
    r"""Return the slope of $\ell_i(\theta + s v)$ at $s = 0$ for every example, float64 [n].

    Nothing is kept for a backward pass, so that maps are freed as soon as the next ones are there.

    Raises:
        NotImplementedError: PyTorch has no derivative of some function, or the derivative that
            autograd takes backwards may be another one.
        RuntimeError: The like, of functions that need a graph.
    """
    point = {name: p.detach() for name, p in params.items()}
    with torch.enable_grad(), dual_level():
        for name, v in direction.items():
            point[name] = forward_ad.make_dual(point[name], v)
        places = {f"model.{name}": value for name, value in point.items()}
        found: list[Tensor] = functional_call(_Losses(risk, plan), places, ())
        tangents = [forward_ad.unpack_dual(losses).tangent for losses in found]
    pairs = zip(found, tangents, strict=True)
    return torch.cat([torch.zeros_like(a) if t is None else t for a, t in pairs]).detach().double()


@final
class _Losses(nn.Module):
    """All losses of a risk, so that the parameters are put into their places once."""

    def __init__(self, risk: Risk, plan: Plan) -> None:
        super().__init__()
        self.model = risk.model
        self.risk, self.plan = risk, plan

    def forward(self) -> list[Tensor]:
        """Return the losses of a few examples after the other."""
        found = []
        for x, y in self.risk.batches():
            size = self.plan.chunk(len(x))
            x = last(x) if self.plan.forward_last else x
            for xs, ys in zip(x.split(size), y.split(size), strict=True):
                with _Tangents():
                    found.append(self.risk.losses(self.model(xs), ys))
        return found


_ASKS = [
    vars(torch._C.TensorBase)[name].__get__ for name in ("requires_grad", "grad_fn", "is_leaf")
]
"""What a tensor is asked by who wants to know whether there will be a backward pass."""


class _Tangents(TorchFunctionMode):
    """Takes faster rules where there are, and refuses where a backward pass gives something else.

    That is where gradients are switched off, which tangents do not heed; in an embedding with a
    padding row, whose gradient is zero by decree; and where a network asks whether it is to be
    differentiated, perhaps to hook onto that.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        options = kwargs or {}
        if not torch.is_grad_enabled():
            raise NotImplementedError("forward mode where gradients are switched off")
        if (
            func is F.embedding
            and (args[2] if len(args) > 2 else options.get("padding_idx")) is not None
        ):
            raise NotImplementedError("forward mode through an embedding with a padding row")
        if func in _ASKS:
            raise NotImplementedError("forward mode through what asks for a backward pass")
        rule = RULES.get(func)
        found = None if rule is None else rule(*args, **options)
        return func(*args, **options) if found is None else found


@contextmanager
def dual_level() -> Iterator[None]:
    """Open forward mode; PyTorch scripts some derivatives then, and warns that it does."""
    with forward_ad.dual_level():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            forward_ad.make_dual(torch.zeros(()), torch.zeros(()))
        yield
