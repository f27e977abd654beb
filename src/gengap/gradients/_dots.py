"""Inner products of every example's gradient with a direction."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, final

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from gengap._functional import functional_call
from gengap.risk import Risk

from ._engine import run
from ._one_part import OnePart
from ._part import Part
from ._plan import Plan
from ._probe import find_plan, trained

Direction = Mapping[str, Tensor]


def per_example_dots(risk: Risk, direction: Direction) -> Tensor:
    r"""Return the inner product of every example's gradient with a direction.

    $d_i = \langle g_i, v \rangle$, from the backward pass of `per_example_block_dots`. Where some
    parameters reach the loss past the layers with a rule, from one pass in forward mode instead,
    if PyTorch has the derivatives: $d_i$ is the slope of $\ell_i(\theta + s v)$ at $s = 0$.

    Cost: about one forward and backward pass over the examples.

    Args:
        risk: Model, loss and examples.
        direction: Parameter name to tensor of its shape; parameters left out count as zero.

    Returns:
        float64 [n].

    Raises:
        ValueError: A name is no trainable parameter, or a shape differs.
    """
    params = trained(risk.model)
    point, plan = _checked(risk, params, direction), find_plan(risk, params)
    if plan.whole:
        try:
            return _forward_mode(risk, plan, params, point)
        except (NotImplementedError, RuntimeError):
            pass
    zeros = torch.zeros(risk.n, dtype=torch.float64, device=risk.device)
    return sum(_block_dots(risk, params, point).values(), start=zeros)


def per_example_block_dots(risk: Risk, direction: Direction) -> dict[str, Tensor]:
    """Return every example's inner products with a direction, parameter by parameter.

    In the backward pass, each layer is applied with the direction in the weights' place.

    Cost: about one forward and backward pass over the examples.

    Args:
        risk: Model, loss and examples.
        direction: Parameter name to tensor of its shape; parameters left out count as zero.

    Returns:
        Name to float64 [n], for every trainable parameter.

    Raises:
        ValueError: A name is no trainable parameter, or a shape differs.
    """
    params = trained(risk.model)
    found = _block_dots(risk, params, _checked(risk, params, direction))
    zeros = torch.zeros(risk.n, dtype=torch.float64, device=risk.device)
    return {name: found.get(name, zeros) for name in params}


def _block_dots(risk: Risk, params: Direction, point: Direction) -> dict[str, Tensor]:
    """Return the inner products for every parameter in the direction, float64 [n]."""
    recorder, _ = run(risk, partial(_Dots, point), params)
    zeros = torch.zeros(risk.n, dtype=torch.float64, device=risk.device)
    return {name: torch.cat(dots) if dots else zeros for name, dots in recorder.dots.items()}


@final
class _Dots(OnePart):
    def __init__(self, direction: Direction, plan: Plan) -> None:
        super().__init__(plan)
        self.direction = direction
        self.dots: dict[str, list[Tensor]] = {name: [] for name in direction}

    def take(self, name: str, part: Part) -> None:
        if name in self.direction:
            self.dots[name].append(part.dots(self.direction[name]))


def _checked(risk: Risk, params: Direction, direction: Direction) -> dict[str, Tensor]:
    if not isinstance(direction, Mapping):
        kind = type(direction).__name__
        raise TypeError(f"`direction` must map parameter names to tensors; got a {kind}.")
    direction = {name: torch.as_tensor(value) for name, value in direction.items()}
    for name, value in direction.items():
        if name not in params:
            raise ValueError(f"`direction` must name trainable parameters; got {name!r}.")
        if value.shape != params[name].shape:
            raise ValueError(
                f"`direction` must have the shape {tuple(params[name].shape)} for {name!r}; got "
                f"{tuple(value.shape)}."
            )
    return {name: value.detach().to(risk.device, risk.dtype) for name, value in direction.items()}


def _forward_mode(risk: Risk, plan: Plan, params: Direction, direction: Direction) -> Tensor:
    slopes = []
    with torch.no_grad(), _dual_level(), _WithoutPadding():
        point = {
            name: forward_ad.make_dual(params[name].detach(), v) for name, v in direction.items()
        }
        for x, y in risk.batches():
            size = plan.chunk(len(x))
            for xs, ys in zip(x.split(size), y.split(size), strict=True):
                losses = risk.losses(functional_call(risk.model, point, (xs,)), ys)
                slope = forward_ad.unpack_dual(losses).tangent
                slopes.append(torch.zeros_like(losses) if slope is None else slope)
    return torch.cat(slopes).double()


class _WithoutPadding(TorchFunctionMode):
    """Refuses an embedding with a padding row, whose gradient forward mode does not leave out."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        options = kwargs or {}
        if (
            func is F.embedding
            and (args[2] if len(args) > 2 else options.get("padding_idx")) is not None
        ):
            raise NotImplementedError("forward mode through an embedding with a padding row")
        return func(*args, **options)


@contextmanager
def _dual_level() -> Iterator[None]:
    """Open forward mode; PyTorch scripts some derivatives then, and warns that it does."""
    with forward_ad.dual_level():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            forward_ad.make_dual(torch.zeros(()), torch.zeros(()))
        yield
