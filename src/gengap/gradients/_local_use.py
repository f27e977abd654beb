"""One use of a whole module, differentiated example by example in the backward pass."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree

from gengap._functional import functional_call

from ._argument_axes import heads_of, possible_axes
from ._attributes import attributes_kept
from ._draws import Draws
from ._entries import Entries
from ._graph import gradients_with_graph, is_transformed, next_node, used_leaves
from ._local_call import (
    Arguments,
    CannotTellApart,
    Deltas,
    Differentiated,
    LocalCall,
    Turn,
    plain_gradients,
)
from ._packed import Packing, packed_input
from ._part import DensePart, Part
from ._rule import Layout
from ._shared_memory import own_tensors, sharing, version
from ._use import Session, asked_for

Differentiate = Callable[[LocalCall, list[Tensor], Deltas, Layout], Differentiated]


@final
class LocalJoint:
    """Stands in a module's place as its forward."""

    def __init__(
        self, session: Session, name: str, module: nn.Module, differentiate: Differentiate
    ) -> None:
        self.session, self.name, self.module = session, name, module
        self.differentiate, self.original = differentiate, module.forward
        self.off = False

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        leaves, structure = pytree.tree_flatten((arguments, options))
        following = self.session.following
        if following and not self.off:
            if self.name in self.session.common:
                return self.original(*arguments, **options)
            leaves = following[0].widened(leaves)
            arguments, options = pytree.tree_unflatten(leaves, structure)
        packed = packed_input(self.module, arguments, options)
        index = set() if packed is None else {id(t) for t in packed[1:]}
        places = [i for i, t in enumerate(leaves) if isinstance(t, Tensor) and id(t) not in index]
        params = {k: p for k, p in self.module.named_parameters() if p.requires_grad}
        known = all(id(p) in self.session.names for p in params.values())
        names = tuple(self.session.names[id(p)] for p in params.values()) if known else ()
        with_graph = torch.is_grad_enabled()
        transformed = is_transformed((*(leaves[i] for i in places), *params.values()))
        if not self.off and with_graph and transformed:
            self.session.recorder.left(names)
        elif not self.off and not with_graph:
            self.session.enter(names)
        if self.off or not known or not with_graph or transformed or not places:
            return self.original(*arguments, **options)
        tensors = [leaves[i] for i in places]
        as_given, packing = _reformed(self.module, packed, tensors, (arguments, options))
        call = LocalCall(
            session=self.session,
            name=self.name,
            module=self.module,
            original=self.original,
            leaves=leaves,
            structure=structure,
            places=places,
            params=dict(params),
            layout=self.session.layout(self.name, tensors[0]),
            batch=self.session.recorder.batch,
            buffers={k: b.detach().clone() for k, b in self.module.named_buffers()},
            as_given=as_given,
            packing=packing,
        )
        try:
            with self.session.unfollowed():
                given = arguments, options
                outputs = _LocalUse.apply(self, call, given, *tensors, *params.values())
        except _Autograds as found:
            self.session.recorder.left(names)
            return found.outputs
        self.session.enter(names)
        call.written = [(outputs[i].detach(), version(outputs[i])) for i in call.shared]
        if following:
            following[0].mark(outputs)
        rebuilt = iter(outputs)
        leaves, structure = call.outputs
        whole = [next(rebuilt) if leaf is _PLACE else leaf for leaf in leaves]
        return pytree.tree_unflatten(whole, structure)


def _reformed(
    module: nn.Module, packed: PackedSequence | None, tensors: list[Tensor], given: Arguments
) -> tuple[dict[int, Turn], Packing | None]:
    """Put packed sequences and masks of heads, among tensors, into forms with an axis of examples.

    Returns:
        What undoes that, by place, and how the first tensor was packed.
    """
    as_given: dict[int, Turn] = {}
    packing = None
    if packed is not None and isinstance(module, nn.RNNBase):
        packing = Packing.of(packed, batch_first=module.batch_first)
        tensors[0], as_given[0] = packing.padded(tensors[0]), packing.packed
    heads = heads_of(module, *given)
    for i, t in enumerate(tensors):
        if id(t) in heads:
            tensors[i] = t.unflatten(0, (-1, heads[id(t)]))
            as_given[i] = partial(torch.flatten, start_dim=0, end_dim=1)
    return as_given, packing


_PLACE = object()
"""Stands for a tensor in what a module returned."""


class _Autograds(Exception):
    """What a module returned is differentiated by autograd, as it is more than its own function.

    It uses a tensor with a gradient that is neither given to it nor its own, or changes one that
    it is given, or returns none; or its numbers are complex.
    """

    def __init__(self, outputs: Any) -> None:
        super().__init__()
        self.outputs = outputs


def _made_before(module: nn.Module) -> list[Tensor]:
    """Return what PyTorch's hooks make before a call: weights of old norms and of pruning."""
    hooks = module._forward_pre_hooks.values()
    names = (getattr(hook, "name", None) or getattr(hook, "_tensor_name", None) for hook in hooks)
    made = (vars(module).get(name) for name in names if isinstance(name, str))
    return [value for value in made if isinstance(value, Tensor)]


class _LocalUse(torch.autograd.Function):
    """A module whose backward asks for its derivatives by example."""

    @staticmethod
    def forward(
        ctx: Any, joint: LocalJoint, call: LocalCall, given: Arguments, *tensors: Tensor
    ) -> Any:
        kind = tensors[0].device.type
        call.autocast = (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind))
        inputs = tensors[: len(call.places)]
        before, start = [version(t) for t in inputs], next_node()
        call.session.inside.append(call.name)
        try:
            with torch.enable_grad():  # so that what leaves another way stays autograd's
                given = call.arguments(inputs) if call.as_given else given
                outputs = call.original(*given[0], **given[1])
        finally:
            call.session.inside.pop()
        flat = call.flat_outputs(outputs)
        own = {id(p) for p in call.params.values()}
        made = _made_before(call.module)
        found = [used_leaves([t], start=start, known=[*inputs, *made], own=own) for t in flat]
        if (
            not flat
            or None in found
            or any(t.is_complex() for t in (*tensors, *flat))
            or [version(t) for t in inputs] != before
        ):
            raise _Autograds(outputs)
        call.used = [
            frozenset(k for k, p in call.params.items() if made or id(p) in (leaves or ()))
            for leaves in found
        ]
        ctx.joint, ctx.call = joint, call
        call.ways = possible_axes(call, inputs)
        for place in call.places:
            call.leaves[place] = None
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        others = [*tensors, *call.module.buffers()]
        call.shared = sharing(flat, others)
        flat = own_tensors(flat, others)
        leaves, structure = pytree.tree_flatten(outputs)
        call.outputs = [_PLACE if isinstance(leaf, Tensor) else leaf for leaf in leaves], structure
        call.shown = [call.rows_of(t) for t in flat]
        ctx.mark_non_differentiable(*(t for t in flat if not t.is_floating_point()))
        return tuple(flat)

    @staticmethod
    def backward(ctx: Any, *deltas: Tensor | None) -> tuple[Tensor | None, ...]:
        joint: LocalJoint = ctx.joint
        call: LocalCall = ctx.call
        call.check_unwritten()
        inputs = list(ctx.saved_tensors[: len(call.places)])
        params = list(call.params.values())
        wanted = [True] * len(params)
        if not call.session.recorder.asks_for_all():
            wanted = asked_for(ctx, params, wanted, first=len(inputs))
        joint.off = call.session.recorder.replaying = True
        try:
            kind = inputs[0].device.type
            on, dtype = call.autocast
            with (
                torch.autocast(kind, dtype=dtype, enabled=on),
                attributes_kept(call.module),
                _without_hooks(call.module),
            ):
                if torch.is_grad_enabled() or is_transformed():
                    return None, None, None, *_with_graph(ctx, call, inputs, list(deltas))
                inputs = [t.detach() for t in inputs]
                return None, None, None, *_backward(joint, call, inputs, list(deltas), wanted)
        finally:
            joint.off = call.session.recorder.replaying = False
            call.written.clear()


@contextmanager
def _without_hooks(module: nn.Module) -> Iterator[None]:
    """Call nobody after the module: whoever hooked on has been called."""
    names = ("_forward_hooks", "_backward_hooks", "_backward_pre_hooks")
    held = {name: vars(module)[name] for name in names}
    try:
        for name in names:
            hooks = held[name].items()
            ours = ((k, h) for k, h in hooks if isinstance(getattr(h, "__self__", None), Entries))
            vars(module)[name] = OrderedDict(ours)
        yield
    finally:
        vars(module).update(held)


def _backward(
    joint: LocalJoint, call: LocalCall, inputs: list[Tensor], deltas: Deltas, wanted: list[bool]
) -> list[Tensor | None]:
    session = call.session
    first = next((delta for delta in deltas if delta is not None), None)
    if first is None:
        return [None] * (len(inputs) + len(call.params))
    if session.watch is not None:
        session.watch(call.name, inputs[0], first)
    layout = call.layout
    try:
        if not layout.fits(inputs[0]):
            raise CannotTellApart(layout.why_not(inputs[0]))
        back, parts = joint.differentiate(call, inputs, deltas, layout)
    except CannotTellApart as reason:
        session.recorder.refused(call.name, str(reason))
        back, sums = plain_gradients(
            call, inputs, deltas, call.original, list(call.params.values())
        )
        return [*back, *sums]
    pairs = zip(call.used, deltas, strict=True)
    used = frozenset().union(*(names for names, delta in pairs if delta is not None))
    asked = {k for k, want in zip(call.params, wanted, strict=True) if want} & used
    named = {session.names[id(call.params[k])]: part for k, part in parts.items() if k in asked}
    session.recorder.recorded = call.batch
    taken = dict(session.recorder.record(named)) if named else {}
    for name, gradient in taken.items():
        if gradient is not None and session.recorder.keeps_sparse and _was_sparse(named[name]):
            taken[name] = gradient = gradient.to_sparse(1)
        if gradient is not None:
            session.recorder.given(name, gradient)
    return [*back, *(taken.get(session.names[id(p)]) for p in call.params.values())]


def _was_sparse(part: Part) -> bool:
    return isinstance(part, DensePart) and part.was_sparse


def _with_graph(
    ctx: Any, call: LocalCall, inputs: list[Tensor], deltas: Deltas
) -> list[Tensor | None]:
    """Return gradients of inputs and parameters that are differentiated again."""
    params = list(call.params.values())
    call.session.recorder.left(tuple(call.session.names[id(p)] for p in params))

    def outputs(tensors: list[Any]) -> list[Tensor]:
        arguments, options = call.arguments(tensors[: len(inputs)])
        point = dict(zip(call.params, tensors[len(inputs) :], strict=True))
        point |= {name: value.clone() for name, value in call.buffers.items()}
        draws = Draws(call.module)
        found = call.flat_outputs(functional_call(call.module, point, arguments, options))
        try:
            if draws.moved():
                raise CannotTellApart("it draws random numbers")
            for place in used:
                call.check_again(place, call.rows_of(found[place]))
        except CannotTellApart as reason:
            raise ValueError(
                "A gradient penalty needs modules that give the same when they are called again; "
                f"got {call.name or '.'!r}, where {reason}."
            ) from reason
        return [found[place] for place in used]

    used = [i for i, d in enumerate(deltas) if d is not None]
    given = [d for d in deltas if d is not None]
    return gradients_with_graph(outputs, [*inputs, *params], given, ctx.needs_input_grad[3:])
