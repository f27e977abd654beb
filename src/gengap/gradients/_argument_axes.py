"""Where the examples are in what a module is given."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product
from typing import Any

from torch import Tensor, nn

from ._local_call import LocalCall
from ._rule import Axes, Layout

_MOST = 16  # ways that are tried
_KNOWN = {"key_padding_mask": 0}
"""Axis of the examples in an argument of attention, wherever they are in the sequences."""
_ATTEND = nn.MultiheadAttention.forward
_MASK = 5  # the place of `attn_mask` among its arguments
_RECURRENT = (nn.RNN.forward, nn.LSTM.forward, nn.GRU.forward)


def possible_axes(call: LocalCall, inputs: Sequence[Tensor]) -> list[Axes]:
    """Return where the examples can be, the likeliest first; what earlier calls show counts."""
    layout = call.layout
    first = inputs[0]
    known = dict(_named(call, inputs))
    now = [
        (layout.axis,) if i == 0 else known.get(i) or tuple(_axes_of(t, first, layout))
        for i, t in enumerate(inputs)
    ]
    before = call.session.apart.get(call.name, ())
    if len(before) == len(now):
        now = [
            tuple(axis for axis in b if axis in n) or tuple(dict.fromkeys((*b, *n)))
            for n, b in zip(now, before, strict=True)
        ]
    call.session.apart[call.name] = tuple(now)
    return list(islice(product(*now), _MOST))


def heads_of(
    module: nn.Module, arguments: Sequence[Any], options: Mapping[str, Any]
) -> dict[int, int]:
    """Return, by the id of a mask [b h, t, t] that attention is given, its number of heads h."""
    if not isinstance(module, nn.MultiheadAttention) or type(module).forward is not _ATTEND:
        return {}
    query = options.get("query", arguments[0] if arguments else None)
    mask = options.get("attn_mask", arguments[_MASK] if len(arguments) > _MASK else None)
    batched = all(isinstance(t, Tensor) and t.ndim == 3 for t in (query, mask))
    return {id(mask): module.num_heads} if batched and len(mask) % module.num_heads == 0 else {}


def _axes_of(values: Tensor, first: Tensor, layout: Layout) -> Iterator[int | None]:
    """Yield where a tensor may have its examples: where the first has them, or on its first axis.

    A mask [b, b] may be one of all examples, and rows as many as positions are rather positions.
    """
    length, axis = length_of(first, layout), layout.axis
    own = values.ndim > axis and values.shape[axis] == length
    if own:
        yield axis
    fewer = values.ndim < first.ndim and tuple(first.shape).count(length) > 1
    if axis and values.ndim > 1 and len(values) == length:
        yield from (0, None) if len(first) != length else (None, 0)
    elif not own or fewer or values.shape == (length, length):
        yield None


def _named(call: LocalCall, inputs: Sequence[Tensor]) -> Iterator[tuple[int, tuple[int]]]:
    """Yield the place among the tensors, and the axis, of arguments whose meaning is known."""
    forward = type(call.module).forward
    if forward in _RECURRENT:  # states are [layers, b, features]
        yield from ((i, (1,)) for i, t in enumerate(inputs) if i and t.ndim == 3)
    if forward is not _ATTEND:
        return
    marks = [object() for _ in inputs]
    arguments, options = call.arguments(marks)
    given = inspect.signature(forward).bind(None, *arguments, **options)
    for name, axis in _KNOWN.items():
        value = given.arguments.get(name)
        yield from ((i, (axis,)) for i, mark in enumerate(marks) if mark is value)
    yield from ((i, (0,)) for i in call.as_given)


def length_of(values: Tensor, layout: Layout) -> int:
    """Return how long the axis of the examples is; 0 without one."""
    return values.shape[layout.axis] if values.ndim > layout.axis else 0
