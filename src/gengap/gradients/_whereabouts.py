"""Where the examples of the batches that somebody else's loop computes are, in every layer."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn

from ._batch import Batch, in_backward
from ._batch_norm import check_no_batch_statistics
from ._entries import Entries
from ._example_axes import Arguments, Folds, Places, as_long_as, cut, find_places
from ._gradient_check import few, gradients_agree
from ._graph import is_transformed
from ._intercept import can_follow
from ._make_up import has_batch_norm, is_same, make_up
from ._packed import padded_leaves
from ._recorder import Recorder
from ._row_owners import moves_rows
from ._training_mode import check_no_mixing_in_training

Key = tuple[Any, ...]
OnCall = Callable[[nn.Module], None]
_COMPARED = 3
"""Shapes of batches for which gradients are compared with those of examples alone."""
_AGAIN = frozenset(2**k for k in range(1, 40))
"""Calls in which they are compared again, where the shapes are known."""
_NOT_APART = (
    "`model` must keep the examples apart; got one in which a few of them together have other "
    "gradients than each alone. Measure a gengap.Risk with gengap.coherence instead."
)


@final
class Whereabouts:
    """Finds out, when a model is called from outside, where its examples are.

    Whatever is called first, the model or a part of it, is tried on a few examples
    (`find_places`), and again where the shapes of its arguments are new. Values without examples,
    as those of a table of positions, are followed to where they meet them. A model in which that
    gives two examples other gradients than each has alone is refused.

    Attributes:
        axes: Layer name to the axis of the examples, where it is not the first.
        folds: Layer name to how the rows lie, by their number an example (`Layout.outer`).
        common: Names of modules whose values are the same for all examples, while such values
            are followed; else empty.
        fixed: The ids of tensors that the model is given now, which are as long as the batch but
            hold no examples.
        changes: How often layers or parameters were found to be others than before, or frozen,
            unfrozen or in another mode.
        examples: Number of examples of the batch in the model now, where it is known.
        expected: The same, said from outside; None takes the first tensor that enters whose rows
            the layers follow.
    """

    def __init__(self, model: nn.Module) -> None:
        """Know nothing yet.

        Raises:
            ValueError: A parameter has no shape yet, or a part is scripted.
        """
        _check_takes_hooks(model)
        self._model = model
        self._names = _names(model)
        self._make_up = make_up(model)
        self._has_batch_norm = has_batch_norm(self._make_up)
        self._tried: dict[Key, Places] = {}
        self._chosen: dict[Key, int] = {}
        self.fixed: set[int] = set()
        self._fixed: dict[Key, list[int]] = {}
        self._now: tuple[int, Key] | None = None
        self._compared = self._calls = 0
        self._moves = False
        self._entries: Entries | None = None
        self.changes = 0
        self.common: set[str] = set()
        self.axes: dict[str, int] = {}
        self.folds: Folds = {}
        self.examples: int | None = None
        self.expected: int | None = None

    def known(self) -> dict[str, Any]:
        """Return what `intercepted` is to know; it is kept up to date."""
        return {
            "axes": self.axes,
            "folds": self.folds,
            "watch": self.watch,
            "common": self.common,
            "fixed": self.fixed,
            "alone": True,
        }

    @contextmanager
    def told_to(
        self, recorder: Recorder, *, on_entry: OnCall = lambda module: None
    ) -> Iterator[None]:
        """Tell a recorder the number of examples of every batch while the block runs.

        Args:
            recorder: Whose `examples` and `batch` are set.
            on_entry: Called first, at every call from outside, with what is called.
        """

        def enter(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
            if recorder.replaying or in_backward():
                return
            if is_transformed(_held(module, args, kwargs)):
                return
            if id(module) in self._names:  # a copy of the model has the hooks, too
                self._look()
                on_entry(module)
                if self._has_batch_norm:
                    check_no_batch_statistics(module, self._names)
                self._enter(module, args, kwargs)
                recorder.examples = self.examples
                recorder.batch = Batch(self.examples)

        self._entries = Entries(self._model, enter)
        try:
            yield
        finally:
            self._entries.remove()

    def _look(self) -> None:
        """Know nothing any more where layers have been exchanged, or others are trained."""
        now = make_up(self._model)
        if is_same(now, self._make_up):
            return
        self._make_up, self._has_batch_norm = now, has_batch_norm(now)
        self.changes += 1
        self._names = _names(self._model)
        for known in (self._tried, self._chosen, self._fixed, self.axes, self.folds):
            known.clear()
        self.common.clear()
        self._now, self._compared, self._calls = None, 0, 0
        if self._entries is not None:
            self._entries.listen(self._model)

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        leaves = _leaves(args, kwargs)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.ndim]
        shapes = [(len(t) == len(tensors[0]), t.shape[1:]) for t in tensors]
        key = (id(module), *kwargs, *shapes, *_switches(leaves, (*args, *kwargs.values())))
        if key not in self._chosen and len({len(t) for t in tensors}) > 1:
            self._chosen[key] = self._choose(module, (args, dict(kwargs)), tensors)
        batch = tensors[self._chosen.get(key, 0)] if tensors else None
        self.examples = self.expected or (self.examples if batch is None else len(batch))
        self.fixed.clear()
        self.fixed.update(id(tensors[i]) for i in self._fixed.get(key, []))
        cut = any(len(t) == self.examples for t in tensors)
        if not self.examples or self.examples < 2 or not cut:
            return
        self._calls += 1
        again = self._calls in _AGAIN and key in self._tried
        if self._now == (id(module), key) and not again:
            return
        root, arguments = self._names[id(module)], (args, dict(kwargs))
        if again:
            self._compare_again(root, module, arguments, self._tried[key])
        if key not in self._tried:
            places, shared = _places(module, arguments, self.examples)
            self._fixed[key] = [i for i, t in enumerate(tensors) if id(t) in shared]
            self.fixed.update(shared)
            self._take(root, places)
            if first := len(self._tried) < _COMPARED:
                self._moves |= moves_rows(module, self._few(arguments, shared)[0])
            self._compare(root, module, arguments, places, shared)
            if first:
                check_no_mixing_in_training(module, *self._few(arguments, shared))
            self._tried[key] = places
        else:
            self._take(root, self._tried[key])
        self._now = id(module), key

    def _choose(self, module: nn.Module, arguments: Arguments, tensors: list[Tensor]) -> int:
        """Return which tensor has a row an example: the first whose rows all layers follow."""
        if self.expected is not None:
            return 0
        for i, tensor in enumerate(tensors):
            if len(tensor) < 2:
                continue
            try:
                axes = find_places(module, arguments, examples=len(tensor)).axes
            except (RuntimeError, ValueError, IndexError, TypeError):  # cut where it must not be
                continue
            still = [name for name, axis in axes.items() if axis is None]
            if all(isinstance(module.get_submodule(name), nn.Embedding) for name in still):
                return i
        return 0

    def _take(self, root: str, places: Places) -> None:
        """Make the places of the layers of a module those that hold now."""
        for layer, known in places.folds.items():
            self.folds[_join(root, layer)] = known
        for layer, axis in places.axes.items():
            name = _join(root, layer)
            self.axes.pop(name, None)
            self.folds[name] = places.folds.get(layer, {})
            if axis:
                self.axes[name] = axis

    def _compare(
        self, root: str, module: nn.Module, arguments: Arguments, places: Places, shared: Set[int]
    ) -> None:
        """Compare a few examples together with each alone; follow what they have in common.

        Raises:
            ValueError: Their gradients are others.
        """
        names = places.without | places.common
        known = {_join(root, name) for name in names} <= self.common
        agree = partial(self._agree, module, arguments, places, shared)
        settled = known or not (places.without or self.common)  # a layer may be idle, too
        if settled and self._compared >= _COMPARED:
            return
        self._compared += 1
        if names and can_follow(module) and agree(names):
            self.common |= {_join(root, name) for name in names}
            return
        if places.without or (names and self.common):
            name = _join(root, min(places.without or names))
            raise ValueError(
                "`model` must have a row an example in every layer, or give what is the same for "
                "all examples to them by broadcasting, as positions are added; got "
                f"{name!r}, where neither was found. Measure a gengap.Risk with gengap.coherence "
                "instead."
            )
        if agree(frozenset()) is False:
            raise ValueError(_NOT_APART)

    def _compare_again(
        self, root: str, module: nn.Module, arguments: Arguments, places: Places
    ) -> None:
        """Compare others: their values may lead to another order than those of the first batch.

        Raises:
            ValueError: Their gradients are others.
        """
        names = places.without | places.common
        common = names if {_join(root, name) for name in names} <= self.common else frozenset()
        if self._agree(module, arguments, places, self.fixed, common) is False:
            raise ValueError(_NOT_APART)

    def _agree(
        self,
        module: nn.Module,
        arguments: Arguments,
        places: Places,
        shared: Set[int],
        common: Set[str],
    ) -> bool | None:
        """Compare a few examples; first in no order, which a model that sorts them changes."""
        for ordered in (False, True):
            cuts = self._few(arguments, shared, ordered=ordered)
            found = gradients_agree(module, *cuts, places, common, fixed=shared)
            if found is not None:
                return found
        return None

    def _few(
        self, arguments: Arguments, shared: Set[int], *, ordered: bool = False
    ) -> tuple[Arguments, list[Arguments]]:
        """Return arguments of a few examples, or of all where rows move, and of each alone."""
        examples = self.examples or 0
        chosen = few(examples, ordered=ordered, every=self._moves)
        alone = [cut(arguments, examples, shared, [row]) for row in chosen]
        return cut(arguments, examples, shared, chosen), alone

    def watch(self, module: str, x: Tensor, delta: Tensor) -> None:
        """Refuse several rows an example on one axis, where that has not been tried."""
        rows = x.shape[self.axes.get(module, 0)] if x.ndim else 0
        if not self._tried and self.examples and self.examples > 1 and rows != self.examples:
            raise ValueError(
                f"`model` must be called by itself, so that it shows where its examples are; got "
                f"{rows} rows for {self.examples} examples in {module!r}."
            )


def _join(root: str, name: str) -> str:
    return f"{root}.{name}".strip(".")


def _places(
    module: nn.Module, arguments: Arguments, examples: int
) -> tuple[Places, frozenset[int]]:
    """Return where the examples are, and which tensors are masks that no example owns a row of.

    A mask or positions of sequences as long as the batch are known by that they cannot be cut.
    """
    try:
        return find_places(module, arguments, examples=examples), frozenset()
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        for ndim in (2, 1):
            masks = as_long_as(arguments, examples, ndim)
            with contextlib.suppress(RuntimeError, ValueError, IndexError, TypeError):
                if masks:
                    return find_places(module, arguments, examples=examples, shared=masks), masks
        raise error


def _check_takes_hooks(model: nn.Module) -> None:
    for name, p in model.named_parameters():
        if nn.parameter.is_lazy(p):
            raise ValueError(
                f"`model` must have parameters of known shape; got {name!r}, which is not "
                "initialized. Call the model once on a batch first."
            )
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ValueError(
                f"`model` must have no scripted parts, which take no hooks; got {name or '.'!r}. "
                "Give the module that was scripted."
            )


def _names(model: nn.Module) -> dict[int, str]:
    return {id(module): name for name, module in model.named_modules()}


def _leaves(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
    """Return what is in the arguments of a call; tensors alone are there already, and quickly."""
    values = [*args, *kwargs.values()]
    if all(isinstance(value, Tensor) for value in values):
        return values
    return padded_leaves(values)


def _held(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[Tensor]:
    """Yield what a module is given, and its parameters."""
    yield from (leaf for leaf in _leaves(args, kwargs) if isinstance(leaf, Tensor))
    yield from module.parameters()


def _switches(leaves: list[Any], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what may switch to another way of computing."""
    switches = (leaf for leaf in leaves if leaf is None or isinstance(leaf, bool))
    return (*_words(arguments), *switches)


def _words(values: Iterable[Any]) -> Iterator[str]:
    """Yield words among arguments and in their dicts; those in a list are the examples'."""
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            yield from _words(value.values())
