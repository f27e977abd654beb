"""A module's vector-Jacobian product, vectorized over the examples."""

import warnings
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from torch.func import vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from gengap._functional import functional_call

from ._draws import Draws
from ._local_call import CannotTellApart, Deltas, Differentiated, LocalCall, first_rows
from ._part import DensePart
from ._rule import Layout

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

    Where the module's code cannot be vectorized, its examples take turns. An input [b, b] is taken
    for one mask of all examples where it cannot be one row an example.
    """
    apart = _apart(call, inputs, layout)
    try:
        return _differentiated(call, inputs, deltas, layout, apart)
    except CannotTellApart:
        shape = (_length(inputs[0], layout),) * 2
        other = tuple(a and (i == 0 or inputs[i].shape != shape) for i, a in enumerate(apart))
        if other == apart:
            raise
        found = _differentiated(call, inputs, deltas, layout, other)
        call.session.apart[call.name] = other
        return found


def _differentiated(
    call: LocalCall,
    inputs: list[Tensor],
    deltas: Deltas,
    layout: Layout,
    apart: tuple[bool, ...],
) -> Differentiated:
    used = [i for i, delta in enumerate(deltas) if delta is not None]
    given = [delta for delta in deltas if delta is not None]
    if not all(_length(delta, layout) == _length(inputs[0], layout) for delta in given):
        raise CannotTellApart("an output does not have its examples where the input has them")
    rows = [_rows(t, layout) if own else t for t, own in zip(inputs, apart, strict=True)]
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
                _whole(t, layout) if own else t for t, own in zip(given, apart, strict=True)
            ])
            found: Any = functional_call(call.module, {**held, **point}, arguments, options)
            tensors = call.flat_outputs(found)
            return [_single(tensors[i], layout) for i in used]

        pulled_back: Any = vjp(outputs, point, [inputs[i] for i in floats])
        found, pull = pulled_back
        cast = [d.to(o.dtype) for d, o in zip(deltas, found, strict=True)]
        grads, back = pull(cast)
        return back, grads, found

    axes, draws = [0 if own else None for own in apart], Draws(call.module)
    try:
        with vectorized():
            back, grads, found = vmap(one, in_dims=(axes, 0))(rows, pulled)
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        if "random" in str(error):
            raise CannotTellApart("it draws random numbers") from error
        back, grads, found = _in_turns(one, rows, pulled, apart)
    finally:
        moved = draws.moved()
        if moved:
            draws.restore()
    if moved:
        raise CannotTellApart("it draws random numbers")
    for place, output in zip(used, found, strict=True):
        call.check_again(place, first_rows(output[:, 0]) if output.numel() else None)
    gradients: list[Tensor | None] = [None] * len(inputs)
    for i, value in zip(floats, back, strict=True):
        gradients[i] = _unrows(value, inputs[i], layout) if apart[i] else value.sum(0)
    return gradients, {name: DensePart(value) for name, value in grads.items()}


def _in_turns(one: Any, rows: list[Tensor], deltas: list[Tensor], apart: tuple[bool, ...]) -> _One:
    try:
        found = [
            one(
                [t[i] if own else t for t, own in zip(rows, apart, strict=True)],
                [d[i] for d in deltas],
            )
            for i in range(len(deltas[0]))
        ]
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        reason = (str(error).strip().splitlines() or ["no message"])[0].rstrip(".")
        raise CannotTellApart(f"one example alone raises {type(error).__name__}: {reason}") from (
            error
        )
    backs, grads, outputs = zip(*found, strict=True)
    back, output = (
        [torch.stack(values) for values in zip(*rows, strict=True)] for rows in (backs, outputs)
    )
    return back, {name: torch.stack([g[name] for g in grads]) for name in grads[0]}, output


def _apart(call: LocalCall, inputs: list[Tensor], layout: Layout) -> tuple[bool, ...]:
    """Return which inputs have a row an example; a mask's length may equal b by chance, once."""
    length = _length(inputs[0], layout)
    now = [_length(t, layout) == length for t in inputs]
    before = call.session.apart.get(call.name, ())
    if len(before) == len(now):
        now = [a and b for a, b in zip(now, before, strict=True)]
    call.session.apart[call.name] = tuple(now)
    return tuple(now)


def _length(values: Tensor, layout: Layout) -> int:
    return values.shape[layout.axis] if values.ndim > layout.axis else 0


def _rows(values: Tensor, layout: Layout) -> Tensor:
    """Return [b, k, ...] for k rows an example on any axis."""
    rows = layout.rows(values)
    plain = layout.examples is None or values.shape[layout.axis] == layout.examples
    return rows.unsqueeze(1) if plain else rows


def _whole(value: Tensor, layout: Layout) -> Tensor:
    return value.movedim(0, layout.axis) if layout.axis else value


def _single(value: Tensor, layout: Layout) -> Tensor:
    return value.movedim(layout.axis, 0) if layout.axis else value


def _unrows(values: Tensor, like: Tensor, layout: Layout) -> Tensor:
    return layout.back_in_place(values, like.movedim(layout.axis, 0)).movedim(0, layout.axis)
