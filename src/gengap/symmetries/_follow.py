"""One forward pass, followed call by call, that writes a ledger of scales."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils import _pytree as pytree

from gengap._copies import copy_of

from ._ledger import ANY, ONE, Labels, Ledger, Skipped, Use, is_fixed
from ._names import MOVES, SILENT, in_order
from ._outputs import tensors_of_outputs
from ._reasons import WEIGHTS, reason_of

_MOST_OWN = 1 << 21


@final
@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a function while a forward pass is followed."""

    name: str
    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any
    follower: "Follower"

    @property
    def ledger(self) -> Ledger:
        """The book."""
        return self.follower.ledger

    def get(self, position: int, name: str, default: Any = None) -> Any:
        """Return an argument by its place or its name."""
        if position < len(self.args):
            return self.args[position]
        return self.kwargs.get(name, default)

    def labels(self, value: Any) -> Tensor:
        """Return the labels of a tensor or a number taken as an activation."""
        return self.follower.labels(value)

    def tensors(self) -> list[Tensor]:
        """Return all tensors among the arguments."""
        leaves = pytree.tree_leaves((self.args, self.kwargs))
        return [leaf for leaf in leaves if isinstance(leaf, Tensor)]

    def moved(self) -> list[Tensor]:
        """Return the tensors whose elements a function moves: not those that tell where to."""
        leaves = pytree.tree_leaves(self.args[:1])
        return [leaf for leaf in leaves if isinstance(leaf, Tensor)]

    def skip(self, reason: str) -> None:
        """Write down why rescaling cannot pass here."""
        module, kind = self.follower.place()
        within = isinstance(self.follower.module(), nn.LocalResponseNorm)
        name = "local_response_norm" if within else self.name.strip("_")
        self.ledger.skip(Skipped(module=module, kind=kind, operation=name, reason=reason))

    def pin(self, *tensors: Tensor, reason: str | None = None) -> None:
        """Fix the scale of these tensors; say why if that takes something away."""
        for tensor in tensors:
            labels = self.labels(tensor)
            if not is_fixed(labels):
                self.ledger.same(labels, ONE)
                if not self.follower.is_parameter(tensor):
                    self.skip(reason or reason_of(self.follower.module(), self.name))

    def fixed(self) -> Labels:
        """Return labels of the outputs that say that their scale is fixed."""
        return pytree.tree_map(_ones, self.output)

    def spread(self, labels: Tensor) -> Tensor:
        """Return labels in the output's shape."""
        return labels.expand(self.output.shape)

    def rerun(self, labels: list[Tensor]) -> Labels:
        """Run the function on labels in place of the tensors that it moves."""
        flat, structure = pytree.tree_flatten(self.args[0])
        rest = iter(labels)
        flat = [next(rest).clone() if isinstance(leaf, Tensor) else leaf for leaf in flat]
        return self.func(pytree.tree_unflatten(flat, structure), *self.args[1:], **self.kwargs)

    def birth(self) -> str:
        """Return a name for labels made here."""
        return f"{self.follower.place()[0]}#{self.follower.calls}"


Rule = Callable[[Call], Labels]


def _ones(value: Any) -> Any:
    if isinstance(value, Tensor):
        return torch.full(value.shape, float(ONE), dtype=torch.float64)
    return value


@final
class Follower(TorchFunctionMode):
    """Sees every function of PyTorch that a forward pass calls, and labels what it returns."""

    def __init__(self, model: nn.Module, rules: dict[str, Rule], *, permuting: bool) -> None:
        super().__init__()
        self.model, self.rules, self.ledger = model, rules, Ledger(permuting=permuting)
        self.offsets: dict[str, int] = {}
        self.names: dict[int, str] = {}
        self.buffers = {id(b): name for name, b in model.named_buffers()}
        self.parameters = dict(model.named_parameters())
        total = 0
        for name, parameter in self.parameters.items():
            self.names[id(parameter)], self.offsets[name] = name, total
            total += parameter.numel()
        self.known: dict[int, Tensor] = {}
        self.indices: dict[int, Tensor] = {}
        self.gains: dict[int, tuple[Tensor, Tensor]] = {}
        self.passing: set[int] = set()
        self.alive: list[Tensor] = []
        self.stack: list[tuple[str, nn.Module]] = [("", model)]
        self.calls = 0

    def place(self) -> tuple[str, str]:
        """Return path and class of the innermost module that is running."""
        path, module = self.stack[-1]
        return path, type(module).__name__

    def module(self) -> nn.Module:
        """Return the innermost module that is running."""
        return self.stack[-1][1]

    def is_parameter(self, value: Any) -> bool:
        """Whether a value is a parameter, or a view of some."""
        return isinstance(value, Tensor) and (id(value) in self.names or id(value) in self.indices)

    def is_passing(self, value: Tensor) -> bool:
        """Whether a tensor was given or made in this pass, so may be another in the next one."""
        return id(value) in self.passing

    def index(self, value: Tensor) -> Tensor:
        """Return the numbers of a parameter's elements among those of all parameters."""
        if id(value) in self.indices:
            return self.indices[id(value)]
        start = self.offsets[self.names[id(value)]]
        return torch.arange(start, start + value.numel(), dtype=torch.float64).view(value.shape)

    def use(self, value: Tensor, plus: Tensor, minus: Tensor) -> None:
        """Write down how a parameter, or a view of some, scales."""
        if id(value) in self.names:
            use = Use(name=self.names[id(value)], index=None, plus=plus, minus=minus)
        else:
            index = self.indices[id(value)]
            plus, minus = plus.expand(index.shape), minus.expand(index.shape)
            use = Use(name=None, index=index, plus=plus, minus=minus)
        self.ledger.uses.append(use)

    def labels(self, value: Any) -> Tensor:
        """Return the labels of a value; a parameter's elements get labels of their own."""
        if not isinstance(value, Tensor):
            return torch.tensor(float(ANY if value == 0 else ONE), dtype=torch.float64)
        if id(value) in self.known:
            return self.known[id(value)]
        if self.is_parameter(value):
            return self._own(value)
        if value.grad_fn is not None:  # made by something that was not seen
            module, kind = self.place()
            reason = "takes a tensor whose origin was not seen, so nothing before it is rescaled"
            self.ledger.skip(Skipped(module=module, kind=kind, operation="forward", reason=reason))
            self.ledger.pin_everything()
        labels = constant(value)
        self.remember(value, labels)
        return labels

    def _own(self, value: Tensor) -> Tensor:
        index = self.index(value)
        if index.numel() > _MOST_OWN:
            self.use(value, torch.zeros(()).double(), torch.zeros(()).double())
            return torch.full(value.shape, float(ONE), dtype=torch.float64)
        fresh = self.ledger.fresh(*index.shape, birth=f"parameter {self.calls}")
        self.use(value, fresh, torch.zeros((), dtype=torch.float64))
        return fresh

    def remember(self, value: Tensor, labels: Tensor) -> None:
        """Keep a tensor and its labels."""
        self.alive.append(value)
        self.known[id(value)] = labels

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function and label what it returns."""
        kwargs = kwargs or {}
        name = _name_of(func)
        if name in SILENT:
            return func(*args, **kwargs)
        self.calls += 1
        given = [t for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        for tensor in given:  # before they are overwritten
            if not self.is_parameter(tensor):
                self.labels(tensor)
        versions = [tensor._version for tensor in given]
        output = func(*args, **kwargs)
        args, kwargs = in_order(name, args, kwargs)
        call = Call(name=name, func=func, args=args, kwargs=kwargs, output=output, follower=self)
        written = [t for t, old in zip(given, versions, strict=True) if t._version != old]
        found = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]
        if not found and name != "__setitem__":
            call.pin(*call.tensors(), reason="reads values out of the network")
            return output
        with torch.no_grad():
            self._label(call, found, written)
        return output

    def _label(self, call: Call, found: list[Tensor], written: list[Tensor]) -> None:
        stem = call.name if call.name.startswith("__") else call.name.rstrip("_")
        for tensor in written:
            self._pin_views(call, tensor)
        self._note_passing(call, found)
        if stem in MOVES and not written and self._moves_parameters(call):
            parts = _leaves(call.rerun([self.index(t) for t in call.moved()]))
            for value, part in zip(found, parts, strict=True):
                if id(value) not in self.names:
                    self.alive.append(value)
                    self.indices[id(value)] = part
            return
        rule = self.rules.get(stem, unknown)
        for value, labels in zip(found, _leaves(rule(call)), strict=True):
            if not self.is_parameter(value):
                self.remember(value, labels.expand(value.shape))

    def _note_passing(self, call: Call, found: list[Tensor]) -> None:
        """Note what was made from nothing, or from what passes."""
        given = call.tensors()
        if not given or any(map(self.is_passing, given)):
            self.alive += found
            self.passing.update(map(id, found))

    def _moves_parameters(self, call: Call) -> bool:
        parameters = all(map(self.is_parameter, call.moved()))
        return parameters and not any(map(self.is_passing, call.tensors()))

    def _pin_views(self, call: Call, target: Tensor) -> None:
        """Fix whatever shares memory with a tensor that is overwritten."""
        place = _memory(target)
        others = [t for t in self.alive if t is not target and _memory(t) == place]
        if call.name == "__setitem__":
            others.append(target)
        others = [t for t in others if id(t) in self.known]
        if others:
            reason = "overwrites a tensor of which other views are in use"
            call.pin(*others, *call.tensors(), reason=reason)
            for tensor in others:
                self.known[id(tensor)] = _ones(tensor)


def constant(value: Tensor) -> Tensor:
    """Return the labels of a tensor that depends on nothing."""
    nothing = (value.detach() == 0) | (value.detach() == float("-inf"))
    return torch.where(nothing, float(ANY), float(ONE)).to("cpu", torch.float64)


def unknown(call: Call) -> Labels:
    """Fix the scale of everything that goes in, and so of what comes out."""
    if not call.tensors():
        return pytree.tree_map(lambda v: constant(v) if isinstance(v, Tensor) else v, call.output)
    if any(map(call.follower.is_parameter, call.tensors())):
        call.skip(WEIGHTS)
    call.pin(*call.tensors())
    return call.fixed()


def _leaves(labels: Labels) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(labels) if isinstance(leaf, Tensor)]


def _memory(value: Any) -> int | None:
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        return None
    with torch._C.DisableTorchFunction():
        return value.untyped_storage().data_ptr()


def _name_of(func: Any) -> str:
    name = str(getattr(func, "__name__", func))
    if name in ("__get__", "__set__"):
        parts = (resolve_name(func) or "").split(".")
        return parts[-2] if len(parts) > 1 else name
    return name


def follow(
    model: nn.Module, inputs: tuple[Any, ...], rules: dict[str, Rule], *, permuting: bool
) -> Follower:
    """Run a copy of the model in evaluation mode and return what was seen."""
    model = copy_of(model)
    model.eval()
    follower = Follower(model, rules, permuting=permuting)
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):  # takes no hooks; its calls are not seen
            continue
        module.register_forward_pre_hook(_enter(follower, path))
        module.register_forward_hook(_leave(follower), always_call=True)
    for value in pytree.tree_leaves(inputs):  # their zeros may be other numbers next time
        if isinstance(value, Tensor):
            follower.remember(value, _ones(value))
            follower.passing.add(id(value))
    with warnings.catch_warnings(), torch.enable_grad(), follower:
        warnings.filterwarnings("ignore", message="Converting a tensor with requires_grad")
        outputs = model(*inputs)
    for output in tensors_of_outputs(outputs):
        follower.ledger.same(follower.labels(output), ONE)
    return follower


def _enter(follower: Follower, path: str) -> Callable[..., None]:
    def hook(module: nn.Module, _inputs: Any) -> None:
        follower.stack.append((path, module))

    return hook


def _leave(follower: Follower) -> Callable[..., None]:
    def hook(_module: nn.Module, _inputs: Any, _outputs: Any) -> None:
        follower.stack.pop()

    return hook
