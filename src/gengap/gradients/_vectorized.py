"""A module's vector-Jacobian product, vectorized over the examples."""

import warnings
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.func import vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from gengap._functional import functional_call

from ._argument_axes import length_of
from ._draws import Draws
from ._local_call import CannotTellApart, Deltas, Differentiated, LocalCall, plain_gradients
from ._part import DensePart
from ._rule import Axes, Layout

_One = tuple[list[Tensor], dict[str, Tensor], list[Tensor]]
"""Gradients by the inputs and by the parameters, and the outputs."""


def vectorized() -> ExitStack:
    """Return a context in which PyTorch vectorizes attention, and does not talk about speed."""
    stack = ExitStack()
    stack.enter_context(warnings.catch_warnings())
    warnings.filterwarnings("ignore", message="There is a performance drop")
    stack.enter_context(sdpa_kernel(SDPBackend.MATH))
    return stack


def differentiate_vectorized(
    call: LocalCall, inputs: list[Tensor], deltas: Deltas, layout: Layout
) -> Differentiated:
    """Return gradients of the inputs, and per-example gradients of every parameter.

    Where the module's code cannot be vectorized, its examples take turns. Where the shapes of the
    inputs leave open on which axis their examples are, or whether one is the same for all, as a
    mask [b, b], the ways take turns until the module gives the same output again.
    """
    for left, axes in zip(range(len(call.ways))[::-1], call.ways, strict=True):
        try:
            found = _differentiated(call, inputs, deltas, layout, axes)
            if len(call.ways) > 1:
                _check_sums(call, inputs, deltas, found)
        except CannotTellApart:
            if not left:
                raise
        else:
            if axes != call.ways[0]:
                call.session.apart[call.name] = tuple((axis,) for axis in axes)
            return found
    raise AssertionError("There is a way at least.")


def _differentiated(
    call: LocalCall,
    inputs: list[Tensor],
    deltas: Deltas,
    layout: Layout,
    axes: Axes,
) -> Differentiated:
    used = [i for i, delta in enumerate(deltas) if delta is not None]
    given = [delta for delta in deltas if delta is not None]
    if not all(length_of(delta, layout) == length_of(inputs[0], layout) for delta in given):
        raise CannotTellApart("an output does not have its examples where the input has them")
    layouts = [None if axis is None else replace(layout, axis=axis) for axis in axes]
    rows = [t if own is None else _rows(t, own) for t, own in zip(inputs, layouts, strict=True)]
    pulled = [_rows(t, layout) for t in given]
    floats = [i for i, t in enumerate(inputs) if t.is_floating_point()]
    point = {name: p.detach() for name, p in call.params.items()}

    def one(inputs: list[Tensor], deltas: list[Tensor]) -> _One:
        def outputs(point: dict[str, Tensor], chosen: list[Tensor]) -> list[Tensor]:
            held = {name: value.clone() for name, value in call.buffers.items()}
            given = list(inputs)
            for i, value in zip(floats, chosen, strict=True):
                given[i] = value
            arguments, options = call.arguments([
                t if own is None else t.movedim(0, own.axis)
                for t, own in zip(given, layouts, strict=True)
            ])
            found: Any = functional_call(call.module, {**held, **point}, arguments, options)
            tensors = call.flat_outputs(found)
            return [_single(tensors[i], layout) for i in used]

        pulled_back: Any = vjp(outputs, point, [inputs[i] for i in floats])
        found, pull = pulled_back
        cast = [d.to(o.dtype) for d, o in zip(deltas, found, strict=True)]
        grads, back = pull(cast)
        return back, grads, found

    places, draws = [None if axis is None else 0 for axis in axes], Draws(call.module)
    try:
        with vectorized():
            back, grads, found = vmap(one, in_dims=(places, 0))(rows, pulled)
    except Exception as error:  # whatever the module's code raises of tensors of another kind
        if "random" in str(error):
            raise CannotTellApart("it draws random numbers") from error
        back, grads, found = _in_turns(one, rows, pulled, places)
    finally:
        moved = draws.moved()
        if moved:
            draws.restore()
    if moved:
        raise CannotTellApart("it draws random numbers")
    for place, output in zip(used, found, strict=True):
        call.check_again(place, call.compared(output[:, 0]) if output.numel() else None)
    gradients: list[Tensor | None] = [None] * len(inputs)
    for i, value in zip(floats, back, strict=True):
        own = layouts[i]
        gradients[i] = value.sum(0) if own is None else _unrows(value, inputs[i], own)
    return gradients, {name: DensePart(value) for name, value in grads.items()}


def _check_sums(
    call: LocalCall, inputs: list[Tensor], deltas: Deltas, found: Differentiated
) -> None:
    """Require what adds up to the plain gradients: outputs do not show all, as at a gate of 0."""
    back, parts = found
    point = {name: p.detach().requires_grad_() for name, p in call.params.items()}
    held = {**{name: value.clone() for name, value in call.buffers.items()}, **point}

    def forward(*arguments: Any, **options: Any) -> Any:
        return functional_call(call.module, held, arguments, options)

    plain, sums = plain_gradients(call, inputs, deltas, forward, list(point.values()))
    largest = max((float(t.abs().max()) for t in plain if t is not None and t.numel()), default=0.0)
    pairs = [(ours, theirs, largest) for ours, theirs in zip(back, plain, strict=True)]
    for name, total in zip(call.params, sums, strict=True):
        rows = parts[name].dense()  # their sum may cancel, as at the end of training
        pairs.append((rows.sum(0), total, float(rows.abs().sum(0).max()) if rows.numel() else 0.0))
    for ours, theirs, scale in pairs:
        if ours is not None and theirs is not None and theirs.numel():
            share = max(1e-4, 16 * torch.finfo(theirs.dtype).eps)
            if bool((ours.to(theirs.dtype) - theirs).abs().max() > share * scale):
                raise CannotTellApart("gradients of single examples do not add up")


def _in_turns(one: Any, rows: list[Tensor], deltas: list[Tensor], places: list[int | None]) -> _One:
    try:
        found = [
            one(
                [t if own is None else t[i] for t, own in zip(rows, places, strict=True)],
                [d[i] for d in deltas],
            )
            for i in range(len(deltas[0]))
        ]
    except Exception as error:
        reason = (str(error).strip().splitlines() or ["no message"])[0].rstrip(".")
        raise CannotTellApart(f"one example alone raises {type(error).__name__}: {reason}") from (
            error
        )
    backs, grads, outputs = zip(*found, strict=True)
    back, output = (
        [torch.stack(values) for values in zip(*rows, strict=True)] for rows in (backs, outputs)
    )
    return back, {name: torch.stack([g[name] for g in grads]) for name in grads[0]}, output


def _rows(values: Tensor, layout: Layout) -> Tensor:
    """Return [b, k, ...] for k rows an example on any axis."""
    rows = layout.rows(values)
    plain = layout.examples is None or values.shape[layout.axis] == layout.examples
    return rows.unsqueeze(1) if plain else rows


def _single(value: Tensor, layout: Layout) -> Tensor:
    return value.movedim(layout.axis, 0) if layout.axis else value


def _unrows(values: Tensor, like: Tensor, layout: Layout) -> Tensor:
    return layout.back_in_place(values, like.movedim(layout.axis, 0)).movedim(0, layout.axis)
