"""One use of one operation: plain forward, and a backward that keeps the examples apart."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ._part import Part
from ._rule import Layout, Rule

Watcher = Callable[[str, Tensor, Tensor], None]


class Recorder(ABC):
    """Who is told what passes between the layers and autograd.

    Attributes:
        examples: Number of examples b of the batch in the model now; None takes the length of
            the first axis of whatever reaches a layer. Set it where the model may fold other
            axes into the first (frames, tokens): such rows are then counted to their example.
        replaying: Whether a module is called again in the backward pass, example by example:
            such a call is no new batch.
    """

    examples: int | None = None
    replaying = False

    @abstractmethod
    def record(self, parts: Mapping[str, Part]) -> Mapping[str, Tensor | None]:
        """Take the per-example gradients of one use of one layer, in the backward pass.

        Args:
            parts: Parameter name, as in `model.named_parameters()`, to its `Part`: the
                gradients of all examples in factored form, with respect to whatever scalar is
                being differentiated. `part.squared_norms()` is [b], `part.sum()` the ordinary
                gradient, `part.dense()` the materialized gradients [b, *shape].

        Returns:
            What autograd takes as the gradient of each parameter: `part.sum()` for `.grad` as
            usual, any other aggregate [*shape], or None (or no entry) for nothing at all.
        """

    def used(self, names: tuple[str, ...]) -> None:
        """Hear, in the forward pass, that these parameters are used once more."""
        del names

    def refused(self, module: str, why: str) -> None:
        """Hear that a use cannot be told apart by example.

        Raises:
            ValueError: Always; a recorder that does not raise leaves the parameters' plain
                gradient to autograd.
        """
        raise ValueError(
            f"`model` must keep the examples apart in every layer; got {module!r}, where {why}."
        )


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Session:
    """What all uses of one interception share.

    Attributes:
        recorder: Gets the parts.
        names: The id of a parameter to its name.
        axes: Module name to the axis of the examples, where it is not the first.
        watch: Told the name of the module, input and output gradient of every use, before.
        apart: Module name to which of the tensors it is given have a row an example, as far as
            its calls so far can tell; of modules differentiated in one piece.
    """

    recorder: Recorder
    names: Mapping[int, str]
    axes: Mapping[str, int] = field(default_factory=dict)
    watch: Watcher | None = None
    apart: dict[str, tuple[bool, ...]] = field(default_factory=dict)

    def use(self, module: str, rule: Rule, x: Tensor, *params: Tensor | None) -> Tensor:
        """Run an operation whose parameters are the model's own, some of them to be recorded."""
        names = tuple(self.names.get(id(p)) for p in params)
        if torch.is_grad_enabled():
            live = (p is not None and p.requires_grad for p in params)
            used = tuple(n for n, alive in zip(names, live, strict=True) if n and alive)
            self.recorder.used(used)
        output: Tensor = _Use.apply(_Call(self, module, rule, names), x, *params)
        return output


@dataclass(frozen=True, eq=False)
class _Call:
    session: Session
    module: str
    rule: Rule
    names: tuple[str | None, ...]


class _Use(torch.autograd.Function):
    """The operation of a rule, whose backward asks the recorder."""

    @staticmethod
    def forward(ctx: Any, call: _Call, x: Tensor, *params: Tensor | None) -> Tensor:
        output, kept = call.rule.forward(x, *params)
        ctx.call, ctx.device_type = call, x.device.type
        ctx.save_for_backward(x, *params, *kept)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, delta: Tensor) -> tuple[Tensor | None, ...]:
        call: _Call = ctx.call
        x, *saved = ctx.saved_tensors
        params, kept = tuple(saved[: len(call.names)]), tuple(saved[len(call.names) :])
        wanted = tuple(ctx.needs_input_grad[1:])
        if not torch.is_autocast_enabled(ctx.device_type):
            back, grads = _differentiate(call, delta, x, params, kept, wanted)
        else:
            with torch.autocast(ctx.device_type, enabled=False):
                back, grads = _differentiate(call, delta, x, params, kept, wanted)
        return None, back, *grads


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
    layout = Layout(examples=recorder.examples, axis=session.axes.get(call.module, 0))
    apart = layout.fits(x) and layout.fits(delta)
    if not apart:
        why = f"axis {layout.axis} does not hold the {layout.examples} examples"
        recorder.refused(call.module, f"{why}: its output has shape {tuple(delta.shape)}")
        layout = Layout(examples=1)
    back, parts = call.rule.backward(delta, x, params, kept, layout=layout, wanted=wanted)
    named = {n: p for n, p in zip(call.names, parts, strict=True) if n and p is not None}
    if apart and named:
        taken = recorder.record(named)
    else:
        taken = {name: part.sum() for name, part in named.items()}
    grads: list[Tensor | None] = []
    for name, param in zip(call.names, params, strict=True):
        grad = taken.get(name) if name else None
        grads.append(grad if grad is None or param is None else grad.to(param.dtype))
    return back, grads
