"""Runs a recorder over all examples of a risk."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from gengap.risk import Risk

from ._image_layout import last
from ._intercept import intercepted
from ._one_part import OnePart, UsedAgain, UsedAtLast
from ._part import DensePart
from ._plan import Plan
from ._probe import find_plan, trained
from ._row_owners import misplaced
from ._whole import whole_model_gradients

R = TypeVar("R", bound=OnePart)


class _NewPlan(Exception):
    """A batch has shown what the probe could not see."""


def run(
    risk: Risk, recorder_of: Callable[[Plan], R], params: Mapping[str, Tensor] | None = None
) -> tuple[R, Tensor]:
    """Send all examples through the model, and their gradients to a recorder.

    Layers with a rule hand over their parts; the parameters that reach the loss in another way
    are differentiated in the model as a whole. Whatever gradient autograd finds beside the parts
    is noticed in every batch, and the run starts again with a better plan. Where rows go with the
    data, two passes come first, which find the parameters whose rows are misplaced.

    Args:
        risk: Model, loss and examples.
        recorder_of: Makes a recorder that leaves out the plan's `whole`, and knows its `several`.
        params: What `trained` says of the model, where it has been asked already.

    Returns:
        The recorder, and the losses of the examples, float64 [n].
    """
    params = trained(risk.model) if params is None else params
    before = _accumulated(params)
    plan = find_plan(risk, params)
    to_look_at = plan.moves
    while True:
        try:
            if to_look_at:
                plan.whole |= misplaced(risk, plan, params)
                to_look_at = False
            recorder = recorder_of(plan)
            losses = _layers(risk, recorder, plan, params)
        except UsedAgain as used:
            plan.several.add(used.name)
        except UsedAtLast as used:
            plan.whole.add(used.name)
        except _NewPlan:
            pass
        else:
            break
    if plan.whole:
        names = sorted(plan.whole)
        for gradients in whole_model_gradients(risk, names, plan):
            for name in names:
                recorder.take(name, DensePart(gradients[name]))
    for name, left in _accumulated(params).items():
        if left != before[name]:
            raise ValueError(
                "`model` must leave gradients to the backward pass that is asked for them; got one "
                f"that adds to `.grad` of {name!r} within, as by `torch.autograd.backward`. Return "
                "the gradients of parameters from the backward of its own function."
            )
    return recorder, losses


def _accumulated(params: Mapping[str, Tensor]) -> dict[str, tuple[int, int]]:
    """Return which tensors are the gradients that the parameters hold, and how often changed."""
    held = {name: p.grad for name, p in params.items()}
    return {name: (id(g), 0 if g is None else g._version) for name, g in held.items()}


def _layers(risk: Risk, recorder: OnePart, plan: Plan, params: Mapping[str, Tensor]) -> Tensor:
    losses, names = [], {id(p): name for name, p in params.items()}
    known: dict[str, Any] = {"axes": plan.axes, "apart": plan.apart, "names": names}
    with torch.no_grad(), intercepted(risk.model, recorder, **known):
        for x, y in risk.batches():
            size = plan.chunk(len(x))
            x = last(x) if plan.channels_last else x
            for xs, ys in zip(x.split(size), y.split(size), strict=True):
                recorder.start(len(xs))
                with torch.enable_grad():
                    found = risk.losses(risk.model(xs), ys)
                    total = found.sum()
                losses.append(found.detach())
                beside = _beside(total, params, recorder)
                if beside - plan.whole:
                    plan.whole |= beside
                    raise _NewPlan
                recorder.finish()
            recorder.end_of_batch()
    return torch.cat(losses).double()


def _beside(total: Tensor, params: Mapping[str, Tensor], recorder: OnePart) -> set[str]:
    """Run the backward pass; return the parameters for which autograd has a gradient."""
    if not total.requires_grad:
        return set()
    recorder.differentiates(total)
    grads = torch.autograd.grad(total, list(params.values()), allow_unused=True)
    return {name for name, grad in zip(params, grads, strict=True) if grad is not None}
