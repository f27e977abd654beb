"""One use of one operation: plain forward, and a backward that keeps the examples apart."""

from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

from ._batch import Batch, in_backward
from ._graph import gradients_with_graph, is_transformed
from ._recorder import Recorder
from ._rule import Axes, Layout, Rule

Watcher = Callable[[str, Tensor, Tensor], None]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Session:
    """What all uses of one interception share.

    Attributes:
        recorder: Gets the parts.
        names: The id of a parameter to its name.
        axes: Module name to the axis of the examples, where it is not the first.
        folds: Module name to how the rows lie (`Layout.outer`), by their number an example; None
            takes those of an example to be one after the other.
        watch: Told the name of the module, input and output gradient of every use, before.
        apart: Module name to the axes on which each tensor it is given may have the examples, as
            far as its calls so far can tell; of modules differentiated in one piece.
        inside: Names of such modules that are called now.
        common: Names of modules whose values are the same for all examples.
        fixed: The ids of tensors that the model is given and that hold no examples.
        following: What follows such values through the call of the model that runs now.
    """

    recorder: Recorder
    names: Mapping[int, str]
    axes: Mapping[str, int] = field(default_factory=dict)
    folds: Mapping[str, Mapping[int, int]] | None = None
    watch: Watcher | None = None
    apart: dict[str, tuple[Axes, ...]] = field(default_factory=dict)
    inside: list[str] = field(default_factory=list)
    common: Set[str] = frozenset()
    fixed: Set[int] = frozenset()
    following: list[Any] = field(default_factory=list)

    def enter(self, names: tuple[str, ...]) -> None:
        """Count a use of parameters, and tell the recorder if it is one with a graph."""
        if self.recorder.batch is not None:
            self.recorder.batch.enter(names)
        if torch.is_grad_enabled():
            self.recorder.used(names)

    def meet(self) -> None:
        """Know that a value which is the same for all examples has met them in this call."""
        if self.recorder.batch is not None:
            self.recorder.batch.common = True

    def layout(self, module: str, x: Tensor) -> Layout:
        """Return where the examples of the batch in the model are in the input of a module."""
        axis, examples = self.axes.get(module, 0), self.recorder.examples
        if self.folds is None or examples == 1 or x.ndim <= axis:
            return Layout(examples=examples, axis=axis)
        if not examples:
            return Layout(axis=axis, outer=self._as_before(x.shape[axis]))
        rows = x.shape[axis] // examples
        known = self.folds.get(module, {})
        outer = known.get(rows, 0 if rows > 1 or known else 1)
        return Layout(examples=examples, axis=axis, outer=outer)

    def _as_before(self, rows: int) -> int:
        """Return 1 where all layers have had this many rows, so that each is an example; else 0."""
        batch = self.recorder.batch
        if batch is None:
            return 1
        batch.rows = rows if batch.rows is None else batch.rows
        return int(batch.rows == rows)

    def use(
        self,
        module: str,
        rule: Rule,
        x: Tensor,
        *params: Tensor | None,
        layout: Layout | None = None,
    ) -> Tensor:
        """Run an operation whose parameters are the model's own, some of them to be recorded.

        With a weight that is computed from parameters, with complex numbers, and within a transform
        of `torch.func`, it is autograd's.
        """
        if self._is_common(module, x):
            return rule.forward(x, *params)[0]
        names = tuple(self.names.get(id(p)) for p in params)
        live = _live(params, names)
        if is_transformed((x, *params)) or _is_autograds(x, params, names):
            if torch.is_grad_enabled() and live:
                self.recorder.left(live)
            return rule.forward(x, *params)[0]
        self.enter(live)
        layout = layout or self.layout(module, x)
        call = _Call(self, module, rule, names, layout, self.recorder.batch)
        with self.unfollowed():
            output: Tensor = _Use.apply(call, x, *params)
        if self.following:
            self.following[0].mark(output)
        return output

    def _is_common(self, module: str, x: Tensor) -> bool:
        """Whether what a layer is given hangs on no example, now or where it is computed anew."""
        batch = self.recorder.batch
        if self.following:
            common = not self.following[0].hangs(x)
            if batch is not None:
                kind = "common" if torch.is_grad_enabled() else "common without a graph"
                batch.given.setdefault(module, set()).add(kind if common else "examples")
            return common
        if batch is None or not batch.given or not in_backward():
            return False
        kinds = batch.given.get(module, {"examples"})
        if kinds == {"common without a graph"}:
            self.recorder.refused(
                module,
                "a reentrant checkpoint computes anew what no example is part of (take "
                "checkpoints with use_reentrant=False)",
            )
        return "examples" not in kinds

    def unfollowed(self) -> AbstractContextManager[object]:
        """Return what lets nothing look at functions while a rule runs, if something does."""
        return torch._C.DisableTorchFunction() if self.following else nullcontext()


def _live(params: Sequence[Tensor | None], names: Sequence[str | None]) -> tuple[str, ...]:
    """Return the names of those that require a gradient."""
    pairs = zip(params, names, strict=True)
    return tuple(name for p, name in pairs if p is not None and p.requires_grad and name)


def _is_autograds(x: Tensor, params: Sequence[Tensor | None], names: Sequence[str | None]) -> bool:
    """Whether what is differentiated is more than the model's own parameters, or not real."""
    computed = any(
        p is not None and p.requires_grad and name is None
        for p, name in zip(params, names, strict=True)
    )
    return computed or x.is_complex() or any(p is not None and p.is_complex() for p in params)


@dataclass(frozen=True, eq=False)
class _Call:
    session: Session
    module: str
    rule: Rule
    names: tuple[str | None, ...]
    layout: Layout
    batch: Batch | None


def asked_for(
    node: Any, params: Sequence[Tensor | None], wanted: Sequence[bool], *, first: int
) -> list[bool]:
    """Return which parameters the backward pass that runs now differentiates by.

    Args:
        node: The node of a use in the graph.
        params: Parameters of the use.
        wanted: Which of them require a gradient.
        first: Number of tensors before them.
    """
    places = iter(node.next_functions[first:])
    found = []
    for param, want in zip(params, wanted, strict=True):
        leaf = next(places)[0] if param is not None else None
        found.append(want and leaf is not None and _is_reached(leaf))
    return found


def _is_reached(leaf: Any) -> bool:
    try:
        reached: bool = torch._C._will_engine_execute_node(leaf)
    except RuntimeError:  # `torch.autograd.grad` hands its gradient out
        return True
    return reached


def as_new(output: Tensor) -> Tensor:
    """Return a tensor that is no view, for autograd lets nobody write to one; makes no copy."""
    if output.layout is not torch.strided:
        return output
    found: Tensor = torch.ops.aten._unsafe_view(output, output.shape)
    return found


class _Use(torch.autograd.Function):
    """The operation of a rule, whose backward asks the recorder."""

    @staticmethod
    def forward(ctx: Any, call: _Call, x: Tensor, *params: Tensor | None) -> Tensor:
        output, kept = call.rule.forward(x, *params)
        output = as_new(output) if output._is_view() else output
        ctx.call, ctx.device_type = call, x.device.type
        on = torch.is_autocast_enabled(ctx.device_type)
        ctx.autocast = torch.get_autocast_dtype(ctx.device_type) if on else None
        held = x if call.rule.keeps_input(params) else x.new_zeros(()).expand(x.shape)
        ctx.save_for_backward(held, *params, *kept)
        return output

    @staticmethod
    def backward(ctx: Any, delta: Tensor) -> tuple[Tensor | None, ...]:
        call: _Call = ctx.call
        x, *saved = ctx.saved_tensors
        if torch.is_grad_enabled() or is_transformed():
            return None, *_to_differentiate_again(ctx, delta, x, saved[: len(call.names)])
        params, kept = tuple(saved[: len(call.names)]), tuple(saved[len(call.names) :])
        wanted = tuple(ctx.needs_input_grad[1:])
        if not call.session.recorder.asks_for_all():
            wanted = (wanted[0], *asked_for(ctx, params, wanted[1:], first=1))
        if not torch.is_autocast_enabled(ctx.device_type):
            back, grads = _differentiate(call, delta, x, params, kept, wanted)
        else:
            with torch.autocast(ctx.device_type, enabled=False):
                back, grads = _differentiate(call, delta, x, params, kept, wanted)
        return None, back, *grads


def _to_differentiate_again(
    ctx: Any, delta: Tensor, x: Tensor, params: list[Tensor | None]
) -> list[Tensor | None]:
    """Return the gradients with a graph of their own, as a gradient penalty asks for them.

    What is differentiated again is a product of derivatives that no part holds: it is autograd's.
    """
    call: _Call = ctx.call
    wanted = ctx.needs_input_grad[1:]
    if wanted[0] and not x.requires_grad:  # its values were not kept, for nothing hangs on them
        x = x.detach().requires_grad_()
    call.session.recorder.left(_live(params, call.names))

    def outputs(tensors: list[Tensor | None]) -> list[Tensor]:
        first, *others = tensors
        assert first is not None
        on = ctx.autocast is not None
        with torch.autocast(ctx.device_type, ctx.autocast, enabled=on, cache_enabled=False):
            return [call.rule.forward(first, *others)[0]]

    return gradients_with_graph(outputs, [x, *params], [delta], wanted)


def _differentiate(
    call: _Call,
    delta: Tensor,
    x: Tensor,
    params: tuple[Tensor | None, ...],
    kept: tuple[Tensor, ...],
    wanted: tuple[bool, ...],
) -> tuple[Tensor | None, list[Tensor | None]]:
    session, recorder = call.session, call.session.recorder
    x = x.detach()
    if session.watch is not None:
        session.watch(call.module, x, delta)
    layout = call.layout
    apart = layout.fits(x) and layout.fits(delta)
    if not apart:
        why = layout.why_not(x)
        recorder.refused(call.module, f"{why}: its output has shape {tuple(delta.shape)}")
        layout = Layout(examples=1)
    back, parts = call.rule.backward(delta, x, params, kept, layout=layout, wanted=wanted)
    named = {n: p for n, p in zip(call.names, parts, strict=True) if n and p is not None}
    if apart and named:
        recorder.recorded = call.batch
        taken = recorder.record(named)
    else:
        taken = {name: part.sum() for name, part in named.items()}
    grads: list[Tensor | None] = []
    for name, param in zip(call.names, params, strict=True):
        grad = taken.get(name) if name else None
        if grad is not None and param is not None and name:
            if recorder.keeps_sparse:
                grad = call.rule.as_autograd_gives_it(grad, x)
            grad = grad.to(param.dtype)
            recorder.given(name, grad)
        grads.append(grad)
    return back, grads
