"""What sums of products, written as for einsum, do to scales."""

from collections.abc import Iterable

from torch import Tensor

from ._follow import Call, unknown
from ._ledger import ONE, Labels, is_fixed


def einsum(call: Call) -> Labels:
    """Follow a product of two: with a weight [in, out], or of activations as in attention."""
    if not isinstance(call.args[0], str) or len(call.tensors()) != 2:
        return unknown(call)
    text = call.args[0].replace(" ", "")
    inputs, arrow, output = text.partition("->")
    terms = inputs.split(",")
    if not arrow or "." in text or any(len(set(term)) < len(term) for term in (*terms, output)):
        return unknown(call)
    pairs = list(zip(terms, call.tensors(), strict=True))
    for (own, weight), (other, x) in (pairs, pairs[::-1]):
        if call.follower.is_parameter(weight) and not call.follower.is_parameter(x):
            return _weigh(call, own, weight, other, x, output)
    return _multiply(call, pairs, output)


def _weigh(call: Call, own: str, weight: Tensor, other: str, x: Tensor, output: str) -> Labels:
    """Give new scales to the weight's outputs, take those that come in."""
    inside = [axis for axis in own if axis in other and axis not in output]
    outside = [axis for axis in own if axis in output and axis not in other]
    if len(inside) + len(outside) != len(own) or not inside:
        return unknown(call)
    come = call.ledger.uniform(call.labels(x), tuple(other.index(axis) for axis in inside))
    come = _ordered(come, sorted(inside, key=other.index), inside)
    sizes = [weight.shape[own.index(axis)] for axis in outside]
    go = call.ledger.fresh(*sizes, birth=call.birth())
    call.follower.use(
        weight, _laid_out(go, outside, own), _laid_out(come.clamp(min=ONE), inside, own)
    )
    return call.spread(_laid_out(go, outside, output))


def _multiply(call: Call, pairs: list[tuple[str, Tensor]], output: str) -> Labels:
    """Pass the labels of one activation on if the other's are fixed, or hold their product."""
    (left, a), (right, b) = pairs
    first, second = call.labels(a), call.labels(b)
    if is_fixed(first) or is_fixed(second):
        own, labels = (left, first) if is_fixed(second) else (right, second)
        kept = [axis for axis in own if axis in output]
        if not kept:
            return unknown(call)
        common = call.ledger.uniform(labels, tuple(own.index(axis) for axis in kept))
        return call.spread(_laid_out(common.clamp(min=ONE), kept, output))
    shared = [axis for axis in left if axis in right]
    if not shared or all(axis in output for axis in shared):
        return unknown(call)
    rows = call.ledger.uniform(first, tuple(left.index(axis) for axis in shared))
    columns = call.ledger.uniform(second, tuple(right.index(axis) for axis in shared))
    columns = _ordered(columns, sorted(shared, key=right.index), shared)
    call.ledger.inverse(rows, columns)
    if call.ledger.permuting:  # heads are not told apart here
        call.ledger.same(rows, ONE)
    return call.fixed()


def _ordered(labels: Tensor, have: Iterable[str], want: Iterable[str]) -> Tensor:
    places = list(have)
    return labels.permute([places.index(axis) for axis in want])


def _laid_out(labels: Tensor, axes: list[str], within: str) -> Tensor:
    """Return labels with their axes where they are in `within`, and ones elsewhere."""
    labels = _ordered(labels, axes, sorted(axes, key=within.index))
    for place, axis in enumerate(within):
        if axis not in axes:
            labels = labels.unsqueeze(place)
    return labels


RULES = {"einsum": einsum}
