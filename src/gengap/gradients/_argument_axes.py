"""Where the examples are in what a module is given."""

import inspect
from collections.abc import Iterator, Sequence
from itertools import islice, product

from torch import Tensor, nn

from ._local_call import Axes, LocalCall
from ._rule import Layout

_MOST = 16  # ways that are tried
_KNOWN = {"key_padding_mask": 0}
"""Axis of the examples in an argument of attention, wherever they are in the sequences."""


def possible_axes(call: LocalCall, inputs: Sequence[Tensor]) -> list[Axes]:
    """Return where the examples can be, the likeliest first; what earlier calls show counts."""
    layout = call.layout
    length = length_of(inputs[0], layout)
    known = dict(_named(call, len(inputs)))
    now = [
        (known[i],) if i in known else tuple(_axes_of(t, layout, length, first=i == 0))
        for i, t in enumerate(inputs)
    ]
    before = call.session.apart.get(call.name, ())
    if len(before) == len(now):
        both = (tuple(axis for axis in n if axis in b) for n, b in zip(now, before, strict=True))
        now = [left or n for left, n in zip(both, now, strict=True)]
    call.session.apart[call.name] = tuple(now)
    return list(islice(product(*now), _MOST))


def _axes_of(values: Tensor, layout: Layout, length: int, *, first: bool) -> Iterator[int | None]:
    """Yield where a tensor may have its examples: where the first has them, or on its first axis.

    A mask [b, b] may be one of all examples; what has their length nowhere is.
    """
    if first:
        yield layout.axis
        return
    own = [a for a in dict.fromkeys((layout.axis, 0)) if values.ndim > a]
    own = [a for a in own if values.shape[a] == length]
    yield from own
    if not own or values.shape == (length, length):
        yield None


def _named(call: LocalCall, tensors: int) -> Iterator[tuple[int, int]]:
    """Yield the place among the tensors, and the axis, of arguments whose meaning is known."""
    if isinstance(call.module, nn.RNNBase):
        yield from ((i, 1) for i in range(1, tensors))  # states are [layers, b, features]
    if not isinstance(call.module, nn.MultiheadAttention):
        return
    marks = [object() for _ in range(tensors)]
    arguments, options = call.arguments(marks)
    given = inspect.signature(nn.MultiheadAttention.forward).bind(None, *arguments, **options)
    for name, axis in _KNOWN.items():
        value = given.arguments.get(name)
        yield from ((i, axis) for i, mark in enumerate(marks) if mark is value)


def length_of(values: Tensor, layout: Layout) -> int:
    """Return how long the axis of the examples is; 0 without one."""
    return values.shape[layout.axis] if values.ndim > layout.axis else 0
