"""A run of a module on the side, which shows what its layers are given."""

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from gengap._functional import functional_call

from ._attributes import attributes_kept
from ._draws import Draws
from ._functional_use import FunctionalJoint
from ._graph import is_transformed
from ._intercept import functional_joint
from ._packed import first_step, packed_input
from ._rules import find_site, is_whole

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Shapes = dict[str, list[tuple[int, ...]]]
Use = tuple[str, int, int]


@final
class Trial:
    """Runs a module and looks at what its layers are given.

    Attributes:
        shapes: Layer name to the shapes of the inputs of its uses.
        kept: Layer name to these inputs themselves, where they were asked for.
        given: Name to the shapes of what modules that are differentiated in one piece return.
        functional: Names of modules that give parameters of their own to functions; what these
            are given beside counts as their input.
    """

    def __init__(self, module: nn.Module, *, noisy: bool = False) -> None:
        """Take the module, with its own parameters or with noise in their place."""
        self._module, self._values = module, _noise(module) if noisy else {}
        self.shapes: Shapes = {}
        self.given: Shapes = {}
        self._left: set[str] = set()
        self.kept: dict[str, list[Tensor]] = {}
        self.functional: set[str] = set()

    def run(self, arguments: Arguments, *, keep: Collection[str] = ()) -> Any:
        """Call the module; return what it gives."""
        self.shapes, self.kept, self.given = {}, {}, {}
        with ExitStack() as stack:
            stack.enter_context(aside(self._module))
            for name, layer in self._module.named_modules():
                note = partial(self._note, name, keep=name in keep)
                joint = functional_joint(layer)
                if joint is not None:
                    self.functional.add(name)
                    joint.noting, joint.left = note, False
                    stack.callback(setattr, joint, "noting", None)
                    stack.callback(self._note_left, name, joint)
                elif find_site(layer) is not None or is_whole(layer):
                    handle = layer.register_forward_pre_hook(_hook(note), with_kwargs=True)
                    stack.callback(handle.remove)
                    if is_whole(layer):
                        handle = layer.register_forward_hook(partial(self._note_given, name))
                        stack.callback(handle.remove)
            stack.enter_context(torch.no_grad())
            args, kwargs = arguments
            if self._values:
                return functional_call(self._module, self._values, args, kwargs)
            return self._module(*args, **kwargs)

    def inputs(self, x: Tensor, names: Collection[str]) -> dict[str, list[Tensor]]:
        """Call the module with one tensor; return what its layers of these names are given."""
        self.run(((x,), {}), keep=names)
        return self.kept

    def inputs_of(
        self, uses: Iterable[Use], first: Arguments, second: Arguments
    ) -> Iterator[tuple[Use, Tensor, Tensor]]:
        """Call the module twice; yield what uses of layers that both calls have are given."""
        names = {name for name, _, _ in uses}
        self.run(first, keep=names)
        before = self.kept
        self.run(second, keep=names)
        for use in uses:
            name, i, _ = use
            given = before.get(name, []), self.kept.get(name, [])
            if i < min(map(len, given)):
                yield use, given[0][i], given[1][i]

    def unseen(self) -> set[str]:
        """Return names of modules some of whose parameters no rule was seen to use."""
        seen = {*self.shapes, *self.given}
        inside = tuple(f"{name}." for name in self.given)
        parts = dict(self._module.named_modules())
        known = {
            id(p)
            for name, layer in parts.items()
            if name in seen or name in self.functional or name.startswith(inside)
            for p in layer._parameters.values()
        }
        return self._left | {
            name
            for name, layer in parts.items()
            if any(
                p is not None and p.requires_grad and id(p) not in known
                for p in layer._parameters.values()
            )
        }

    def _note_left(self, name: str, joint: FunctionalJoint) -> None:
        if joint.left:
            self._left.add(name)

    def _note_given(self, name: str, layer: nn.Module, inputs: Any, output: Any) -> None:
        first = next((t for t in pytree.tree_leaves(output) if isinstance(t, Tensor)), None)
        if first is not None:
            self.given.setdefault(name, []).append(tuple(first.shape))

    def _note(self, name: str, x: Tensor, *, keep: bool) -> None:
        if is_transformed((x,)):  # within a transform of the model's own, rows are hidden
            return
        self.shapes.setdefault(name, []).append(tuple(x.shape))
        if keep:
            self.kept.setdefault(name, []).append(x.clone())


def _hook(note: Callable[[Tensor], None]) -> Callable[..., None]:
    def hook(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        packed = packed_input(layer, args, kwargs)
        if packed is not None:
            note(first_step(packed, batch_first=bool(layer.batch_first)))
            return
        leaves = pytree.tree_leaves((args, kwargs))
        first = next((leaf for leaf in leaves if isinstance(leaf, Tensor)), None)
        if first is not None:
            note(first)

    return hook


@contextmanager
def aside(module: nn.Module, *, training: bool = False) -> Iterator[None]:
    """Put a module in evaluation mode; what it draws, counts or stores is undone at the end.

    With `training` each layer stays in the mode that it is in.
    """
    with ExitStack() as stack:
        for layer in module.modules():
            stack.callback(setattr, layer, "training", layer.training)
            layer.training = layer.training and training
        mha = torch.backends.mha
        stack.callback(mha.set_fastpath_enabled, mha.get_fastpath_enabled())
        mha.set_fastpath_enabled(False)  # it nests tensors, which have no shape
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        stack.callback(Draws(module).restore)
        stack.enter_context(attributes_kept(module, thorough=True))
        yield


def _noise(module: nn.Module) -> dict[str, Tensor]:
    """Return normal draws for all parameters, of about the size they have at the start."""
    draw = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(p.shape, generator=draw, dtype=torch.float32).to(p)
        / max(1.0, p[:1].numel() ** 0.5 if p.ndim > 1 else 1.0)
        for name, p in module.named_parameters()
        if p.is_floating_point()
    }
