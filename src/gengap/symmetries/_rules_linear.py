"""What linear layers, convolutions and embeddings do to scales."""

import torch
from torch import Tensor

from ._follow import Call, unknown
from ._ledger import ANY, ONE, Labels, is_fixed

_NONE = torch.zeros((), dtype=torch.float64)


def linear(call: Call) -> Labels:
    """Give new scales to the rows, take those that come in from the columns."""
    x, weight, bias = call.args[0], call.get(1, "weight"), call.get(2, "bias")
    return call.spread(apply_linear(call, call.labels(x), weight, bias))


def apply_linear(call: Call, labels: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the labels [rows] of a linear layer's output."""
    come = call.ledger.uniform(labels, (-1,)) if labels.ndim > 1 else labels
    go = _rows(call, weight, come, come, axis=0)
    return _shifted(call, bias, go)


def _rows(call: Call, weight: Tensor, columns: Tensor, come: Tensor, *, axis: int) -> Tensor:
    """Return labels of the outputs of a weight whose columns, as they lie there, are given."""
    size = weight.shape[axis]
    if call.follower.is_parameter(weight):
        go = call.ledger.fresh(size, birth=call.birth())
        shape = [1] * weight.ndim
        shape[axis] = size
        other = [1] * weight.ndim
        other[1 - axis] = weight.shape[1 - axis]
        columns = torch.where(columns == ANY, float(ONE), columns)
        minus = columns.reshape(other) if columns.ndim == 1 else columns
        call.follower.use(weight, go.view(shape), minus)
        return go
    if id(weight) in call.follower.gains and axis == 0:
        return _gained(call, weight, columns, come)
    call.pin(weight)
    if call.ledger.permuting:
        call.ledger.same(come, ONE)
        return torch.zeros(size, dtype=torch.float64)
    common = come.amax()
    call.ledger.same(come, common)
    return common.clamp(min=ONE).expand(size)


def _gained(call: Call, weight: Tensor, columns: Tensor, come: Tensor) -> Tensor:
    """Let the lengths of a weight in weight normalization take what comes in, as one scale."""
    gain, direction = call.follower.gains[id(weight)]
    go = call.ledger.fresh(len(weight), birth=call.birth())
    shape = [-1] + [1] * (weight.ndim - 1)
    if call.ledger.permuting:
        columns = columns.clamp(min=ONE)
        other = columns.reshape(1, -1, *shape[2:]) if columns.ndim == 1 else columns
        call.follower.use(direction, go.view(shape), other)
        call.follower.use(gain, go.view(shape), _NONE)
        return go
    common = come.amax()
    call.ledger.same(come, common)
    call.follower.use(gain, go.view(shape), common.clamp(min=ONE))
    return go


def weight_norm(call: Call) -> Labels:
    """Remember which lengths a normalized weight has."""
    direction, gain, axis = call.args[0], call.get(1, "g"), call.get(2, "dim", 0)
    known = call.follower.is_parameter(direction) and call.follower.is_parameter(gain)
    if not known or axis != 0:
        return unknown(call)
    call.follower.gains[id(call.output)] = gain, direction
    if not call.ledger.permuting:
        call.follower.use(direction, _NONE, _NONE)
    return call.fixed()


def addmm(call: Call) -> Labels:
    """Multiply by a parameter and add another."""
    shift, left, right = call.args[0], call.get(1, "mat1"), call.get(2, "mat2")
    if not call.follower.is_parameter(right) or set(call.kwargs) - {"mat1", "mat2"}:
        return unknown(call)
    come = call.ledger.uniform(call.labels(left), (-1,))
    return call.spread(_shifted(call, shift, _rows(call, right, come, come, axis=1)))


def _shifted(call: Call, bias: Tensor | None, labels: Tensor) -> Tensor:
    """Let a bias scale as the sum it belongs to; a constant one fixes it."""
    if bias is None:
        return labels
    if call.follower.is_parameter(bias):
        call.follower.use(bias, labels, _NONE)
        return labels
    return call.ledger.join(labels, call.labels(bias))


def convolution(call: Call) -> Labels:
    """Give new scales to the filters, take those that come in from their slices."""
    x, weight, bias = call.args[0], call.get(1, "weight"), call.get(2, "bias")
    groups, spatial = call.get(6, "groups", 1), weight.ndim - 2
    come = call.ledger.uniform(call.labels(x), (-spatial - 1,))
    columns = come
    if groups > 1:
        inside = weight.shape[1]
        columns = come.view(groups, inside).repeat_interleave(weight.shape[0] // groups, 0)
        columns = columns.view(weight.shape[0], inside, *[1] * spatial)
        if call.ledger.permuting:
            call.ledger.same(come, ONE)
    go = _rows(call, weight, columns, come, axis=0)
    if groups > 1 and call.ledger.permuting:
        call.ledger.same(go, ONE)
    go = _shifted(call, bias, go)
    return call.spread(go.view(-1, *[1] * spatial))


def transposed_convolution(call: Call) -> Labels:
    """Give new scales to the filters of a transposed convolution without groups."""
    x, weight, bias = call.args[0], call.get(1, "weight"), call.get(2, "bias")
    if call.get(6, "groups", 1) != 1:
        return unknown(call)
    spatial = weight.ndim - 2
    come = call.ledger.uniform(call.labels(x), (-spatial - 1,))
    go = _shifted(call, bias, _rows(call, weight, come, come, axis=1))
    return call.spread(go.view(-1, *[1] * spatial))


def embedding(call: Call) -> Labels:
    """Give new scales to the entries of an embedding's vectors."""
    index, weight = call.args[0], call.get(1, "weight")
    if not call.follower.is_parameter(weight) or call.get(3, "max_norm") is not None:
        return unknown(call)
    call.pin(index)
    go = call.ledger.fresh(weight.shape[1], birth=call.birth())
    call.follower.use(weight, go.view(1, -1), _NONE)
    return call.spread(go)


def matmul(call: Call) -> Labels:
    """Multiply by a parameter as a linear layer does; of two activations one takes up the other."""
    left, right = call.args[0], call.get(1, "other", call.kwargs.get("mat2"))
    if call.follower.is_parameter(right) and right.ndim == 2 and left.ndim >= 1:
        come = call.ledger.uniform(call.labels(left), (-1,)) if left.ndim > 1 else call.labels(left)
        return call.spread(_rows(call, right, come, come, axis=1))
    if left.ndim < 2 or right.ndim < 2:
        return unknown(call)
    return contract(call, call.labels(left), call.labels(right))


def contract(call: Call, left: Tensor, right: Tensor) -> Tensor:
    """Return the labels of left [..., t, d] times right [..., d, s]."""
    ledger = call.ledger
    if is_fixed(right):
        common = ledger.uniform(left, tuple(range(left.ndim - 1)))
        return call.spread(common.clamp(min=ONE).unsqueeze(-1))
    if is_fixed(left):
        common = ledger.uniform(right, (*range(right.ndim - 2), right.ndim - 1))
        mark_heads(call, common, "value")
        return call.spread(common.clamp(min=ONE).unsqueeze(-2))
    rows = left.amax(-2)
    columns = right.amax(-1)
    ledger.same(left, rows.unsqueeze(-2))
    ledger.same(right, columns.unsqueeze(-1))
    ledger.inverse(rows, columns)
    mark_heads(call, rows, "contracted")
    return torch.full(call.output.shape, float(ONE), dtype=torch.float64)


def mark_heads(call: Call, labels: Tensor, role: str) -> None:
    """Note which head, counted along all axes but the first and the last, a unit belongs to."""
    if call.ledger.permuting and labels.ndim > 2:
        heads = labels[0].reshape(-1, labels.shape[-1])
        for number, head in enumerate(heads):
            call.ledger.mark(head, f"{call.birth()} {role} {number}")


RULES = {
    "linear": linear,
    **{f"conv{d}d": convolution for d in (1, 2, 3)},
    **{f"conv_transpose{d}d": transposed_convolution for d in (1, 2, 3)},
    "embedding": embedding,
    "_weight_norm": weight_norm,
    "addmm": addmm,
    **dict.fromkeys(("matmul", "__matmul__", "__rmatmul__", "bmm", "mm"), matmul),
}
