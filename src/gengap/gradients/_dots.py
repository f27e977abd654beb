"""Inner products of every example's gradient with a direction."""

import math
from collections.abc import Mapping
from functools import partial
from typing import final

import torch
from torch import Tensor

from gengap.risk import Risk

from ._engine import run
from ._forward_mode import slopes
from ._one_part import OnePart
from ._part import Part
from ._plan import Plan
from ._probe import find_plan, trained
from ._row_sums import holds

Direction = Mapping[str, Tensor]

_COMPARED = 8
_ROUNDING, _KINK = 1e-4, 1e-2


def per_example_dots(risk: Risk, direction: Direction) -> Tensor:
    r"""Return the inner product of every example's gradient with a direction.

    $d_i = \langle g_i, v \rangle$, from the backward pass of `per_example_block_dots`. In most
    convolutional networks, and where some parameters reach the loss past the layers with a rule,
    from one pass in forward mode instead, if PyTorch has the derivatives: $d_i$ is the slope of
    $\ell_i(\theta + s v)$ at $s = 0$.

    Cost: about one forward and backward pass over the examples.

    Args:
        risk: Model, loss and examples.
        direction: Parameter name to tensor of its shape; parameters left out count as zero.

    Returns:
        float64 [n].

    Raises:
        TypeError: `direction` is no mapping.
        ValueError: A name is no trainable parameter, or a shape differs.
    """
    params = trained(risk.model)
    point, plan = _checked(risk, params, direction), find_plan(risk, params)
    if _goes_forwards(risk, plan):
        try:
            return _scaled_slopes(risk, plan, params, point)
        except Exception:  # a backward pass will do, or say what is wrong
            plan.agrees = False
    zeros = torch.zeros(risk.n, dtype=torch.float64, device=risk.device)
    return sum(_block_dots(risk, params, point).values(), start=zeros)


def _scaled_slopes(risk: Risk, plan: Plan, params: Direction, point: Direction) -> Tensor:
    """Return slopes along a direction divided by a power of 2 near its largest entry, and undo it.

    So that products of small gradients stay in float32's range.
    """
    largest = max((value.abs().max() for value in point.values() if value.numel()), default=None)
    if largest is None:
        return slopes(risk, plan, params, point)
    _, exponent = largest.frexp()
    scaled = {name: value.ldexp(-exponent) for name, value in point.items()}
    return slopes(risk, plan, params, scaled).ldexp(exponent)


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
        TypeError: `direction` is no mapping.
        ValueError: A name is no trainable parameter, or a shape differs.
    """
    params = trained(risk.model)
    found = _block_dots(risk, params, _checked(risk, params, direction))
    zeros = torch.zeros(risk.n, dtype=torch.float64, device=risk.device)
    return {name: found.get(name, zeros) for name in params}


def _block_dots(risk: Risk, params: Direction, point: Direction) -> dict[str, Tensor]:
    """Return the inner products for every parameter in the direction, float64 [n]."""
    recorder, _ = run(risk, partial(_Dots, point), params)
    if risk.dtype != torch.float64 and not holds(recorder.all()):
        recorder, _ = run(risk, partial(_Dots, point, wide=True), params)
    zeros = torch.zeros(risk.n, dtype=torch.float64, device=risk.device)
    return {name: torch.cat(dots) if dots else zeros for name, dots in recorder.dots.items()}


@final
class _Dots(OnePart):
    def __init__(self, direction: Direction, plan: Plan, *, wide: bool = False) -> None:
        super().__init__(plan)
        self.direction, self.wide = direction, wide
        self.dots: dict[str, list[Tensor]] = {name: [] for name in direction}

    def take(self, name: str, part: Part) -> None:
        if name not in self.direction:
            return
        if self.wide:
            part = part.wide(slice(None))
        self.dots[name].append(part.dots(self.direction[name]))

    def all(self) -> Tensor:
        """Return all inner products there are, one after the other."""
        found = [part for parts in self.dots.values() for part in parts]
        return torch.cat(found) if found else torch.ones(1)


def _goes_forwards(risk: Risk, plan: Plan) -> bool:
    """Return whether to take slopes: where these are had sooner, and are the inner products.

    Tangents do not see everything that a backward pass does, or forget it: hooks, compiled and
    scripted parts, gradients by decree. So both ways are compared once.
    """
    if not (plan.forward or plan.whole) or torch.is_inference_mode_enabled():
        return False
    if plan.agrees is None:
        plan.agrees = _agree(risk, plan)
    return plan.agrees


def _agree(risk: Risk, plan: Plan) -> bool:
    """Compare slopes with inner products on a few examples, along one drawn direction.

    In float32 a unit at the kink of a ReLU can move an inner product by 1e-3 of the largest: then
    float64 decides.
    """
    few = risk[torch.linspace(0, risk.n - 1, min(_COMPARED, risk.n)).long().unique()]
    difference = _difference(few, plan)
    if risk.dtype == torch.float64 or not _ROUNDING < difference < _KINK:
        return difference <= (1e-9 if risk.dtype == torch.float64 else _ROUNDING)
    try:
        twin = Risk(risk.model, few.split, loss=risk.loss, dtype=torch.float64)
    except Exception:  # it does not run in float64
        return False
    return _difference(twin, plan) <= 1e-9


def _difference(risk: Risk, plan: Plan) -> float:
    """Return the largest difference as a share of the largest inner product."""
    params, draw = trained(risk.model), torch.Generator().manual_seed(0)
    drawn = {
        name: torch.randn(p.shape, generator=draw, dtype=p.dtype).to(p.device)
        for name, p in params.items()
    }
    try:
        forwards = slopes(risk, plan, params, drawn)
    except Exception:  # a backward pass will do, or say what is wrong
        return math.inf
    backwards = torch.stack(list(_block_dots(risk, params, drawn).values())).sum(0)
    scale = backwards.abs().max().clamp(min=torch.finfo(torch.float64).tiny)
    return float((forwards - backwards).abs().max() / scale)


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
