"""One use of a whole module, differentiated example by example in the backward pass."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from gengap._functional import functional_call

from ._attributes import attributes_kept
from ._draws import Draws
from ._entries import Entries
from ._graph import comes_from_elsewhere, gradients_with_graph, is_transformed, next_node
from ._part import DensePart, Part
from ._rule import Layout
from ._shared_memory import own_tensors, sharing, version
from ._use import Batch, Session, asked_for

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Differentiated = tuple[list[Tensor | None], dict[str, Part]]


class CannotTellApart(Exception):
    """A module's backward pass cannot be split by example."""


@final
@dataclass(eq=False, kw_only=True)
class LocalCall:
    """A module's forward, called once.

    Attributes:
        session: The interception.
        name: The module's name.
        module: The module.
        original: Its own forward.
        structure: Of the arguments, tensors replaced by their place.
        places: Which leaves of the structure are tensors.
        params: Trainable parameters of the module and its children, by their names inside it.
        layout: Where the examples are in the first tensor.
        batch: The call of the model it was part of.
        buffers: The module's buffers as they were before the call.
        outputs: What it returned, without the tensors.
        first: The first example's first row of each tensor it returned; None where there is none.
        shared: Which of the tensors that it returned lay in the memory of another one.
        written: These, and how often somebody had written to them when they were returned.
        autocast: Whether autocast was on, and to which dtype.
    """

    session: Session
    name: str
    module: nn.Module
    original: Callable[..., Any]
    leaves: list[Any]
    structure: Any
    places: list[int]
    params: dict[str, Tensor]
    layout: Layout
    batch: Batch | None
    buffers: dict[str, Tensor]
    outputs: Any = None
    first: list[Tensor | None] = field(default_factory=list)
    shared: list[int] = field(default_factory=list)
    written: list[tuple[Tensor, int]] = field(default_factory=list)
    autocast: tuple[bool, torch.dtype] = field(default=(False, torch.float32))

    def arguments(self, tensors: list[Tensor]) -> Arguments:
        """Return positional and named arguments with these tensors in them."""
        leaves = list(self.leaves)
        for place, tensor in zip(self.places, tensors, strict=True):
            leaves[place] = tensor
        found: Arguments = pytree.tree_unflatten(leaves, self.structure)
        return found

    def check_again(self, place: int, row: Tensor) -> None:
        """Require that calling the module once more has given the first example's row again.

        Raises:
            CannotTellApart: It has not: what it does goes with a state that nobody sees.
        """
        first = self.first[place]
        if first is None or not first.is_floating_point() or not first.numel():
            return
        eps = torch.finfo(first.dtype).eps
        share = max(min(_SAME, eps**0.5), 16 * eps)
        apart = (row.detach().to(first.dtype) - first).abs().max()
        if bool(apart > share * first.abs().max()):
            raise CannotTellApart("calling it again gives another output")

    def check_unwritten(self) -> None:
        """Require that nobody has written to an output in whose memory another one should lie.

        Raises:
            ValueError: Somebody has: the other one, which is a copy, did not change with it.
        """
        if any(version(tensor) != before for tensor, before in self.written):
            raise ValueError(
                "What a module returns twice, or returns as it was given, must not be changed in "
                f"place; got such a change of what {self.name or '.'!r} returned. Return a clone."
            )

    def flat_outputs(self, outputs: Any) -> list[Tensor]:
        """Return the tensors of what the module returned."""
        return [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)]


_SAME = 1e-4
"""Share of the largest output by which a second call may differ, for another order of sums; in
float64 it is less."""

Deltas = list[Tensor | None]
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
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        params = {k: p for k, p in self.module.named_parameters() if p.requires_grad}
        known = all(id(p) in self.session.names for p in params.values())
        names = tuple(self.session.names[id(p)] for p in params.values()) if known else ()
        with_graph, transformed = torch.is_grad_enabled(), is_transformed()
        if not self.off and with_graph and transformed:
            self.session.recorder.left(names)
        elif not self.off and not with_graph:
            self.session.enter(names)
        if self.off or not known or not with_graph or transformed or not places:
            return self.original(*arguments, **options)
        call = LocalCall(
            session=self.session,
            name=self.name,
            module=self.module,
            original=self.original,
            leaves=leaves,
            structure=structure,
            places=places,
            params=dict(params),
            layout=self.session.layout(self.name, leaves[places[0]]),
            batch=self.session.recorder.batch,
            buffers={k: b.detach().clone() for k, b in self.module.named_buffers()},
        )
        tensors = [leaves[i] for i in places]
        try:
            outputs = _LocalUse.apply(self, call, (arguments, options), *tensors, *params.values())
        except _Autograds as found:
            self.session.recorder.left(names)
            return found.outputs
        self.session.enter(names)
        call.written = [(outputs[i].detach(), version(outputs[i])) for i in call.shared]
        rebuilt = iter(outputs)
        return pytree.tree_map(lambda leaf: next(rebuilt) if leaf is _PLACE else leaf, call.outputs)


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
        with torch.enable_grad():  # so that what leaves another way stays autograd's
            outputs = call.original(*given[0], **given[1])
        flat = [t for t in pytree.tree_leaves(outputs) if isinstance(t, Tensor)]
        own = {id(p) for p in call.params.values()}
        known = [*inputs, *_made_before(call.module)]
        if (
            not flat
            or any(t.is_complex() for t in (*tensors, *flat))
            or [version(t) for t in inputs] != before
            or comes_from_elsewhere(flat, start=start, known=known, own=own)
        ):
            raise _Autograds(outputs)
        ctx.joint, ctx.call = joint, call
        for place in call.places:
            call.leaves[place] = None
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        others = [*tensors, *call.module.buffers()]
        call.shared = sharing(flat, others)
        flat = own_tensors(flat, others)
        call.outputs = pytree.tree_map(
            lambda leaf: _PLACE if isinstance(leaf, Tensor) else leaf, outputs
        )
        axis = call.layout.axis
        call.first = [
            t.select(axis, 0).clone() if t.numel() and t.ndim > axis else None for t in flat
        ]
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
        if call.session.recorder.only_asked:
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
                if torch.is_grad_enabled():
                    return None, None, None, *_with_graph(ctx, call, inputs, list(deltas))
                inputs = [t.detach() for t in inputs]
                return None, None, None, *_backward(joint, call, inputs, list(deltas), wanted)
        finally:
            joint.off = call.session.recorder.replaying = False


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
        back, sums = _plainly(call, inputs, deltas)
        return [*back, *sums]
    asked = {k for k, want in zip(call.params, wanted, strict=True) if want}
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
        found = call.flat_outputs(functional_call(call.module, point, arguments, options))
        return [o for o, d in zip(found, deltas, strict=True) if d is not None]

    draws, given = Draws(call.module), [d for d in deltas if d is not None]
    found = gradients_with_graph(outputs, [*inputs, *params], given, ctx.needs_input_grad[3:])
    if draws.moved():
        raise ValueError(
            f"A gradient penalty needs modules that give the same when they are called again; got "
            f"{call.name or '.'!r}, which draws random numbers. Put these into a module of PyTorch."
        )
    return found


def _plainly(
    call: LocalCall, inputs: list[Tensor], deltas: Deltas
) -> tuple[list[Tensor | None], list[Tensor | None]]:
    """Return the plain gradients of inputs and parameters."""
    with torch.enable_grad():
        leaves = [t.detach().requires_grad_() if t.is_floating_point() else t for t in inputs]
        arguments, options = call.arguments(leaves)
        outputs = call.flat_outputs(call.original(*arguments, **options))
    pairs = [(o, d) for o, d in zip(outputs, deltas, strict=True) if d is not None]
    wanted = [t for t in leaves if t.requires_grad]
    grads = torch.autograd.grad(
        [o for o, _ in pairs],
        [*wanted, *call.params.values()],
        [d for _, d in pairs],
        allow_unused=True,
    )
    found = iter(grads[: len(wanted)])
    return [next(found) if t.requires_grad else None for t in leaves], list(grads[len(wanted) :])
