"""What normalizations and attention do to scales."""

import torch
from torch import Tensor

from ._follow import Call
from ._ledger import ONE, Labels, NormUse
from ._rules_linear import apply_linear, mark_heads

_NONE = torch.zeros((), dtype=torch.float64)


def batch_norm(call: Call) -> Labels:
    """Take up what comes in by the running statistics; scale and shift go on to what follows."""
    x, mean, variance = call.args[0], call.get(1, "running_mean"), call.get(2, "running_var")
    weight, bias = call.get(3, "weight"), call.get(4, "bias")
    follower, ledger = call.follower, call.ledger
    names = follower.buffers.get(id(mean)), follower.buffers.get(id(variance))
    if names[0] is None or names[1] is None or call.get(5, "training", False):
        call.pin(x)
        return call.fixed()
    come = ledger.uniform(call.labels(x), (1,))
    name = follower.names.get(id(weight)) if weight is not None else None
    epsilon = float(call.get(7, "eps", 1e-5))
    use = NormUse(mean=names[0], variance=names[1], weight=name, epsilon=epsilon, labels=come)
    if names[1] in ledger.norms:
        ledger.same(ledger.norms[names[1]].labels, come)
    ledger.norms[names[1]] = use
    go = _affine(call, weight, bias, come)
    return call.spread(go.view(-1, *[1] * (x.ndim - 2)))


def _affine(call: Call, weight: Tensor | None, bias: Tensor | None, come: Tensor) -> Tensor:
    """Return labels of what comes out of scale and shift after a normalization."""
    follower, ledger = call.follower, call.ledger
    if ledger.permuting:
        for value in (weight, bias):
            if value is not None and follower.is_parameter(value):
                follower.use(value, come, _NONE)
        return come
    movable = weight is not None and follower.is_parameter(weight)
    movable = movable and (bias is None or follower.is_parameter(bias))
    if not movable:
        return torch.full(come.shape, float(ONE), dtype=torch.float64)
    assert weight is not None
    go = ledger.fresh(*weight.shape, birth=call.birth())
    for value in (weight, bias):
        if value is not None:
            follower.use(value, go, _NONE)
    return go


def layer_norm(call: Call) -> Labels:
    """Stop what comes in; scale and shift go on to what follows."""
    x, shape = call.args[0], call.get(1, "normalized_shape")
    rms = call.name == "rms_norm"
    weight, bias = call.get(2, "weight"), None if rms else call.get(3, "bias")
    if call.ledger.permuting and len(shape) == 1:
        return call.spread(_affine(call, weight, bias, call.ledger.uniform(call.labels(x), (-1,))))
    call.pin(x)
    fixed = torch.full(tuple(shape), float(ONE), dtype=torch.float64)
    return call.spread(_affine(call, weight, bias, fixed))


def channel_norm(call: Call) -> Labels:
    """Stop what comes in to a group or instance norm; scale and shift go on."""
    x = call.args[0]
    weight, bias = (call.get(p, n) for p, n in _places(call.name))
    call.pin(x)
    channels = torch.full((x.shape[1],), float(ONE), dtype=torch.float64)
    go = _affine(call, weight, bias, channels)
    return call.spread(go.view(-1, *[1] * (x.ndim - 2)))


def _places(name: str) -> tuple[tuple[int, str], tuple[int, str]]:
    first = 2 if name == "group_norm" else 3
    return (first, "weight"), (first + 1, "bias")


def attention(call: Call) -> Labels:
    """Keep query times key; pass the values' labels on."""
    query, key, value = (
        call.labels(call.get(i, n)) for i, n in enumerate(("query", "key", "value"))
    )
    mask = call.get(3, "attn_mask")
    if isinstance(mask, Tensor):
        call.pin(mask)
    rows = _per_head(call, query, "query"), _per_head(call, key, "key")
    if rows[0].shape != rows[1].shape:  # groups of query heads share a key head
        shared = rows[0].shape[-2] // rows[1].shape[-2]
        rows = rows[0], rows[1].repeat_interleave(shared, -2)
        value = value.repeat_interleave(shared, -3)
    call.ledger.inverse(*rows)
    return call.spread(_per_head(call, value, "value").unsqueeze(-2))


def _per_head(call: Call, labels: Tensor, role: str) -> Tensor:
    """Join the labels of all positions; returns [..., head, entry]."""
    common = labels.amax(-2)
    call.ledger.same(labels, common.unsqueeze(-2))
    mark_heads(call, common, role)
    return common


def multi_head(call: Call) -> Labels:
    """Follow nn.MultiheadAttention: three linear layers, attention, a linear layer."""
    query, key, value, width, heads, weight, bias = (call.get(i, n) for i, n in enumerate(_FIRST))
    extra = [call.get(7, "bias_k"), call.get(8, "bias_v"), call.get(9, "add_zero_attn", False)]
    if any(e is not None and e is not False for e in extra) or weight is None:
        call.pin(*call.tensors(), reason="has extra keys and values, or separate projections")
        return call.fixed()
    index = call.follower.index(weight)
    shift = None if bias is None else call.follower.index(bias)
    parts = []
    for number, x in enumerate((query, key, value)):
        rows = slice(number * width, (number + 1) * width)
        part = _view(call, weight, index, rows)
        other = None if bias is None or shift is None else _view(call, bias, shift, rows)
        parts.append(apply_linear(call, call.labels(x), part, other))
    for number in range(heads):
        size = width // heads
        for role, labels in zip(("key", "key", "value"), parts, strict=True):
            call.ledger.mark(labels[number * size : (number + 1) * size], f"{role} {number}")
    call.ledger.inverse(parts[0], parts[1])
    out = apply_linear(
        call, parts[2], call.get(11, "out_proj_weight"), call.get(12, "out_proj_bias")
    )
    weights = call.output[1]
    zeros = None if weights is None else torch.zeros(weights.shape, dtype=torch.float64)
    return out.expand(call.output[0].shape), zeros


_FIRST = (
    *("query", "key", "value", "embed_dim_to_check", "num_heads", "in_proj_weight"),
    "in_proj_bias",
)


def _view(call: Call, whole: Tensor, index: Tensor, rows: slice) -> Tensor:
    """Return some rows of a parameter as a view that the follower knows."""
    part = whole.detach()[rows]
    call.follower.alive.append(part)
    call.follower.indices[id(part)] = index[rows]
    return part


RULES = {
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "rms_norm": layer_norm,
    "group_norm": channel_norm,
    "instance_norm": channel_norm,
    "scaled_dot_product_attention": attention,
    "multi_head_attention_forward": multi_head,
}
