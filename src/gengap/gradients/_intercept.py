"""Put a recorder between a model's layers and autograd."""

import copy
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from functools import update_wrapper
from inspect import ismethod
from typing import Any, final

from torch import nn

from ._common import CommonJoint
from ._compiler import keep_out_the_compiler
from ._functional_use import FunctionalJoint
from ._recorder import Recorder
from ._rule import Axes
from ._rules import find_joint, is_whole
from ._use import Session, Watcher


@contextmanager
def intercepted(
    model: nn.Module,
    recorder: Recorder,
    *,
    axes: Mapping[str, int] | None = None,
    folds: Mapping[str, Mapping[int, int]] | None = None,
    watch: Watcher | None = None,
    apart: dict[str, tuple[Axes, ...]] | None = None,
    names: Mapping[int, str] | None = None,
    common: Set[str] | None = None,
    fixed: Set[int] = frozenset(),
    alone: bool = False,
) -> Iterator[None]:
    """Hand the per-example gradients of layers to a recorder while the block runs.

    Every layer that has a rule and a parameter that requires a gradient gets, as an attribute of
    the instance, a `forward` that computes the same numbers; in the backward pass it asks the
    recorder, instead of computing the parameters' gradients itself. A part computes only what is
    asked of it.

    Where a parameter reaches the loss in another way, too, or only in another way, that gradient
    is autograd's as ever and is not recorded: it adds to what the recorder returns.

    Args:
        model: Any module. Its parameters and buffers stay where they are.
        recorder: Gets the parts.
        axes: Module name to the axis of the examples, where it is not the first.
        folds: Module name to how the rows of the examples lie, by their number an example, as
            `Layout.outer` says it; None takes an example's to be one after the other.
        watch: Called with module name, input and output gradient of every use.
        apart: What is known from earlier calls of the modules that are differentiated in one
            piece: on which axes each tensor they are given may have the examples. Changed in place.
        names: The id of every parameter to train to its name; None asks the model.
        common: Names of modules whose values are the same for all examples, kept up to date by
            somebody: while there are any, such values are followed through the model.
        fixed: The ids of tensors that the model is given and that hold no examples, though they
            are as long as the batch.
        alone: Whether to refuse a model that is intercepted already; else that interception
            sees nothing while the block runs.

    Yields:
        Nothing; on leaving, the model is as it was.

    Examples:
        >>> import torch
        >>> class Norms(Recorder):
        ...     def record(self, parts):
        ...         self.last = {name: part.squared_norms() for name, part in parts.items()}
        ...         return {name: part.sum() for name, part in parts.items()}
        >>> line, norms = nn.Linear(2, 1), Norms()
        >>> with intercepted(line, norms):
        ...     line(torch.tensor([[3.0, 4.0], [0.0, 1.0]])).sum().backward()
        >>> norms.last["weight"].tolist(), line.weight.grad.tolist()
        ([25.0, 1.0], [[3.0, 5.0]])
    """
    if names is None:
        names = {id(p): name for name, p in model.named_parameters()}
    session = Session(
        recorder=recorder,
        names=names,
        axes={} if axes is None else axes,
        folds=folds,
        watch=watch,
        apart={} if apart is None else apart,
        common=frozenset() if common is None else common,
        fixed=fixed,
    )
    changed: list[_StandIn] = []
    others = _stand_ins(model)
    if others and alone:
        raise ValueError(
            "`model` must have one meter or robust optimizer at a time; got another one. Close the "
            "meter, or leave its `with` block, first."
        )
    if alone:  # in somebody else's loop
        keep_out_the_compiler()
    with bare(model):
        try:
            _put_rules_in(model, session, changed)
            if common is not None:
                _put_followers_in(model, session, changed)
            yield
        finally:
            for stand_in in changed:
                stand_in.leave()


def _put_rules_in(model: nn.Module, session: Session, changed: "list[_StandIn]") -> None:
    """Let layers with a rule call it; note where."""
    inside: list[str] = []
    for name, module in model.named_modules():
        _check_no_counts(name, module)
        if any(name.startswith(f"{outer}." if outer else "") for outer in inside):
            continue
        whole = is_whole(module)
        if whole:
            inside.append(name)
        found = find_joint(session, name, module, whole=whole)
        if found is not None and not _has_another(module, found[0]):
            stand_in = vars(module)[found[0]] = _StandIn(module, *found)  # past modules' slow way
            changed.append(stand_in)


def _put_followers_in(model: nn.Module, session: Session, changed: "list[_StandIn]") -> None:
    """Let the model and its parts follow common values; note where."""
    for module in [*model.children(), model]:
        if _can_be_followed(module):
            held = vars(module).get("forward", module.forward)
            own = held.method if isinstance(held, _StandIn) else held
            stand_in = _StandIn(module, "forward", CommonJoint(session, own))
            vars(module)["forward"] = stand_in
            changed.append(stand_in)


@contextmanager
def bare(model: nn.Module) -> Iterator[None]:
    """Take what stands in the place of methods off a model while the block runs."""
    held = _stand_ins(model)
    for module, attribute, _ in held:
        del vars(module)[attribute]
    try:
        yield
    finally:
        for module, attribute, stand_in in held:
            vars(module)[attribute] = stand_in


def can_follow(module: nn.Module) -> bool:
    """Whether a module follows common values when it is called."""
    stand_in = vars(module).get("forward")
    return isinstance(stand_in, _StandIn) and isinstance(stand_in.method, CommonJoint)


def _can_be_followed(module: nn.Module) -> bool:
    """Whether a module has others in it, and a forward that nobody has replaced."""
    held = vars(module).get("forward")
    return bool(module._modules) and (held is None or isinstance(held, _StandIn))


def _has_another(module: nn.Module, attribute: str) -> bool:
    """Whether somebody has put a method of theirs in the place of a module's own."""
    held = vars(module).get(attribute)
    own = getattr(type(module), attribute)
    is_own = getattr(held, "__self__", None) is module and getattr(held, "__func__", None) is own
    return held is not None and not is_own  # the copy of a metered module holds its own


def _check_no_counts(name: str, module: nn.Module) -> None:
    """Refuse a table whose gradient is divided by how often the batch has a token."""
    counts = isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and module.scale_grad_by_freq
    if counts and module.weight.requires_grad:
        raise ValueError(
            "`model` must give every example a gradient of its own; got a table with "
            f"`scale_grad_by_freq`, {name!r}, whose gradient depends on the batch's other "
            "tokens. Set it to False."
        )


def _stand_ins(model: nn.Module) -> list[tuple[nn.Module, str, "_StandIn"]]:
    return [
        (module, attribute, method)
        for module in model.modules()
        for attribute in ("forward", "_conv_forward")
        if isinstance(method := vars(module).get(attribute), _StandIn)
    ]


@final
class _StandIn:
    """A method put in a module's place; a deep copy of the module has its own method again."""

    def __init__(self, module: nn.Module, attribute: str, method: Callable[..., Any]) -> None:
        self.stands_for, self.attribute, self.method = module, attribute, method
        update_wrapper(self, getattr(type(module), attribute).__get__(module))  # its signature

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self.method(*arguments, **options)

    def leave(self) -> None:
        """Let the module have its own method again; another that somebody has put there stays."""
        if vars(self.stands_for).get(self.attribute) is self:
            del vars(self.stands_for)[self.attribute]
        self.method = getattr(type(self.stands_for), self.attribute).__get__(self.stands_for)

    def __deepcopy__(self, memo: dict[int, Any]) -> Callable[..., Any]:
        twin = copy.deepcopy(self.stands_for, memo)
        own: Callable[..., Any] = getattr(type(twin), self.attribute).__get__(twin)
        return own


def hand_over(before: Any, after: Any) -> bool:
    """Let a stand-in that PyTorch is about to call do what its successor does; say if it can."""
    if isinstance(before, _StandIn) and isinstance(after, _StandIn):
        before.method = after.method
    follows = isinstance(after, _StandIn) and isinstance(after.method, CommonJoint)
    if before is None and follows:
        return ismethod(after.method.original)
    return before is not None or after is None


def functional_joint(module: nn.Module) -> FunctionalJoint | None:
    """Return what looks at the functions that an intercepted module calls; None where nothing."""
    stand_in = vars(module).get("forward")
    method = stand_in.method if isinstance(stand_in, _StandIn) else None
    method = method.original if isinstance(method, CommonJoint) else method
    return method if isinstance(method, FunctionalJoint) else None
