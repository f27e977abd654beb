"""What sums, products and functions of single elements do to scales."""

import torch
from torch import Tensor

from ._follow import Call, unknown
from ._ledger import ANY, ONE, Labels, is_fixed
from ._names import HOMOGENEOUS, POINTWISE


def homogeneous(call: Call) -> Labels:
    """Pass the labels on."""
    return call.labels(call.args[0])


def pointwise(call: Call) -> Labels:
    """Stop scales; let units through."""
    others = [t for t in call.tensors() if t is not call.args[0]]
    if call.ledger.permuting and not others and isinstance(call.args[0], Tensor):
        return call.labels(call.args[0])
    call.pin(*call.tensors())
    return call.fixed()


def clamp(call: Call) -> Labels:
    """Pass the labels on where every bound is zero, as in `x.clamp(min=0)`."""
    bounds = [*call.args[1:], *call.kwargs.values()]
    if all(bound is None or (not isinstance(bound, Tensor) and bound == 0) for bound in bounds):
        return call.labels(call.args[0])
    return pointwise(call)


def prelu(call: Call) -> Labels:
    """Pass the labels on; the slopes keep their scale."""
    labels, slopes = call.labels(call.args[0]), call.get(1, "weight")
    channels = call.ledger.uniform(labels, (1,)) if labels.ndim > 1 and slopes.numel() > 1 else None
    if call.ledger.permuting and channels is not None and call.follower.is_parameter(slopes):
        call.follower.use(slopes, channels, torch.zeros((), dtype=torch.float64))
    else:
        call.pin(slopes)
    return labels


def masked_fill(call: Call) -> Labels:
    """Pass the labels on where zeros or infinities are filled in."""
    value = call.get(2, "value")
    if isinstance(value, Tensor) or value not in (0, float("-inf")) or call.ledger.permuting:
        call.pin(*call.tensors())
        return call.fixed()
    return call.labels(call.args[0])


def where(call: Call) -> Labels:
    """Join two choices."""
    if len(call.args) < 3:
        return unknown(call)
    call.pin(call.args[0])
    return call.spread(call.ledger.join(call.labels(call.args[1]), call.labels(call.args[2])))


def maximum(call: Call) -> Labels:
    """Join the labels of two tensors of which the larger is taken."""
    return call.ledger.join(call.labels(call.args[0]), call.labels(call.args[1]))


def add(call: Call) -> Labels:
    """Join the labels of the terms; a constant fixes them."""
    left, right = call.args[0], call.get(1, "other")
    if call.name.startswith("__r"):
        left, right = right, left
    if call.ledger.permuting and not isinstance(right, Tensor):
        return call.labels(left)
    if not all(call.follower.is_parameter(t) or _moving(call, t) for t in (left, right)):
        for term, other in ((left, right), (right, left)):
            if isinstance(term, Tensor) and not _zero(call, other):
                call.pin(term)
    return call.ledger.join(call.labels(left), call.labels(right))


def _moving(call: Call, value: object) -> bool:
    return isinstance(value, Tensor) and not is_fixed(call.labels(value))


def _zero(call: Call, value: object) -> bool:
    return bool((call.labels(value) == ANY).all())


def multiply(call: Call) -> Labels:
    """Pass the labels on past constants; a parameter takes up what comes in and goes out."""
    left, right = call.args[0], call.get(1, "other")
    for factor, other in ((left, right), (right, left)):
        if call.follower.is_parameter(factor) and not call.follower.is_parameter(other):
            return _gain(call, factor, other)
    return product(call, left, right)


def product(call: Call, left: object, right: object) -> Tensor:
    """Return the labels of a product of two activations, of which one must be fixed."""
    ledger, first, second = call.ledger, call.labels(left), call.labels(right)
    if ledger.permuting:
        pair = [t for t in (left, right) if isinstance(t, Tensor) and t.numel() > 1]
        if len(pair) == 2:
            return ledger.join(first, second)
        return call.spread(first if isinstance(left, Tensor) and left.numel() > 1 else second)
    if not is_fixed(first) and not is_fixed(second) and isinstance(right, Tensor):
        call.pin(right)
        second = torch.zeros_like(second)
    first, second = torch.broadcast_tensors(first, second)
    return torch.where((first == ANY) | (second == ANY), float(ANY), torch.maximum(first, second))


def divide(call: Call) -> Labels:
    """Pass the labels of the numerator on; the denominator is fixed."""
    numerator, denominator = call.args[0], call.get(1, "other")
    if isinstance(denominator, Tensor):
        if call.ledger.permuting and denominator.numel() > 1:
            return call.ledger.join(call.labels(numerator), call.labels(denominator))
        call.pin(denominator)
    return call.spread(call.labels(numerator))


def _gain(call: Call, factor: Tensor, value: object) -> Labels:
    """Let a parameter that multiplies channels turn one scale into another."""
    labels = call.labels(value)
    if not isinstance(value, Tensor):
        return call.labels(factor)
    labels = labels.expand(call.output.shape)
    shape = (1,) * (labels.ndim - factor.ndim) + tuple(factor.shape)
    keep = tuple(axis for axis, size in enumerate(shape) if size > 1)
    come = call.ledger.uniform(labels, keep) if keep else labels.amax()
    if not keep:
        call.ledger.same(labels, come)
    come = come.reshape(factor.shape)
    if call.ledger.permuting:
        call.follower.use(factor, come, torch.zeros((), dtype=torch.float64))
        return labels
    go = call.ledger.fresh(*factor.shape, birth=call.birth())
    call.follower.use(factor, go, come)
    return call.spread(go)


def fixed_constant(call: Call) -> Labels:
    """Return fixed labels without fixing what goes in: zeros_like and the like."""
    nothing = call.name.strip("_") in ("zeros_like", "zero", "new_zeros", "zeros")
    return torch.full(call.output.shape, float(ANY if nothing else ONE), dtype=torch.float64)


RULES = {
    **dict.fromkeys(HOMOGENEOUS, homogeneous),
    **dict.fromkeys(POINTWISE, pointwise),
    **dict.fromkeys(("clamp", "clip", "clamp_min", "clamp_max"), clamp),
    **dict.fromkeys(("add", "sub", "subtract", "__add__", "__radd__", "__sub__", "__rsub__"), add),
    **dict.fromkeys(("__iadd__", "__isub__", "rsub"), add),
    **dict.fromkeys(("mul", "multiply", "__mul__", "__rmul__", "__imul__"), multiply),
    **dict.fromkeys(("div", "divide", "true_divide", "__truediv__", "__itruediv__"), divide),
    **dict.fromkeys(("maximum", "minimum", "fmax", "fmin"), maximum),
    **dict.fromkeys(("zeros_like", "ones_like", "new_zeros", "new_ones", "zero"), fixed_constant),
    **dict.fromkeys(("rand_like", "randn_like", "empty_like", "new_empty"), fixed_constant),
    "prelu": prelu,
    "masked_fill": masked_fill,
    "where": where,
}
