"""Where the examples of a batch are in the input of every layer, found out by trying."""

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ._alike import dense, differ, is_same
from ._trial import Arguments, Trial, Use

Possible = dict[Use, tuple[int, list[int]]]
Folds = dict[str, dict[int, int]]


@final
@dataclass(frozen=True, kw_only=True)
class Places:
    """Where the examples are.

    Attributes:
        axes: Layer name, relative to the module, to the axis of the examples in its input; None
            for a layer whose input is the same whatever the number of examples, as that of a
            table of positions.
        folds: Layer name to how the rows on this axis lie (`Layout.outer`), by their number an
            example, where some use of the layer has more than one; 0 where it could not be found
            out, and for one row an example where some use of the layer has its examples on another
            axis, or none.
        without: Names of layers that in some use are given the same for any number of examples.
        common: Names of modules that may have values which are the same for all examples: what
            they give does not grow, or their parameters are used in a way that no rule knows.
    """

    axes: dict[str, int | None]
    folds: Folds = field(default_factory=dict)
    without: frozenset[str] = frozenset()
    common: frozenset[str] = frozenset()


def find_places(
    module: nn.Module, arguments: Arguments, *, examples: int, shared: Set[int] = frozenset()
) -> Places:
    """Return where the examples are in the input of every layer with a rule.

    Runs the module, without a graph and in evaluation mode, on the first example and on the first
    two; the axis that grows is the one. Where an example has several rows on it, the second one is
    exchanged for the first: the rows that change are the second's. Where too few change to tell,
    as behind a dead layer, the same is done with noise for parameters and on inputs; where none
    do, as in a table of positions, the first example's rows are those that it has alone. What the
    module draws, counts or stores is undone.

    Args:
        module: The module that is called.
        arguments: What it is called with; tensors of length `examples` in it are cut.
        examples: Number of examples b of the batch, at least 2.
        shared: The ids of tensors that are not cut, though they have this length.
    """
    some = partial(cut, arguments, examples, shared)
    one, two = (Trial(module) for _ in range(2))
    one.run(some([0]))
    before, after = (dense(two.run(some([0, 1]))) for _ in range(2))
    if len(before) != len(after) or not all(map(is_same, before, after)):
        raise ValueError(
            "`model` must give the same outputs where it is called again in evaluation mode; got "
            "others. Let it keep what it counts or draws in buffers or other attributes."
        )
    axes = {
        name: _growing(one.shapes[name][0], shapes[0])
        for name, shapes in two.shapes.items()
        if name in one.shapes
    }
    axes = {k: axis for k, axis in axes.items() if axis is not None or k not in two.functional}
    uses = [
        (name, i, axis)
        for name, axis in axes.items()
        if axis is not None
        for i, shape in enumerate(two.shapes[name])
        if len(shape) > axis and shape[axis] > 2
    ]
    folds = _folds(module, some, examples, uses) if uses else {}
    for name, known in folds.items():
        if any(shape[axes[name] :][:1] == (2,) for shape in two.shapes[name]):
            known[1] = 1
    without = {name for name, axis in axes.items() if axis is None}
    for name, shapes in two.shapes.items():
        axis, pairs = axes.get(name, 0), list(zip(one.shapes.get(name, []), shapes, strict=False))
        if any(left == right for left, right in pairs):
            without.add(name)
        elif axis is not None and any(_growing(*pair) != axis for pair in pairs):
            folds.setdefault(name, {})[1] = 0
    common = two.unseen() | {
        name for name, shapes in two.given.items() if shapes == one.given.get(name)
    }
    return Places(axes=axes, folds=folds, without=frozenset(without), common=frozenset(common))


def _growing(one: tuple[int, ...], two: tuple[int, ...]) -> int | None:
    if len(one) != len(two):
        return None
    axes = [i for i, (a, b) in enumerate(zip(one, two, strict=True)) if a and b == 2 * a]
    return axes[0] if axes else None


def _folds(
    module: nn.Module,
    some: Callable[[list[int]], Arguments],
    examples: int,
    uses: Iterable[Use],
) -> Folds:
    """Return how rows lie in uses of layers: name, which of its uses, and axis."""
    pair, same = (some([0, i]) for i in (1, 0))
    possible = _possible(Trial(module), uses, pair, same)
    unclear = _unclear(possible)
    if unclear:
        other = _noisy(some([0, examples - 1]))
        _keep(possible, _possible(Trial(module, noisy=True), unclear, other, same))
        unclear = _unclear(possible)
    if unclear:
        alone = some([0])
        _keep(possible, _matching(Trial(module), unclear, pair, alone))
    folds: Folds = {}
    for (name, _, _), (rows, outers) in possible.items():
        known = folds.setdefault(name, {})
        outer = outers[0] if len(outers) == 1 else 0
        known[rows] = outer if known.get(rows, outer) == outer else 0
    return folds


def _unclear(possible: Possible) -> list[Use]:
    return [use for use, (_, outers) in possible.items() if len(outers) > 1]


def _keep(possible: Possible, again: Possible) -> None:
    """Leave out what another trial has shown not to be so."""
    for use, (rows, outers) in again.items():
        if possible[use][0] == rows:
            possible[use] = rows, [o for o in possible[use][1] if o in outers]


def _possible(trial: "Trial", uses: Iterable[Use], pair: Arguments, same: Arguments) -> Possible:
    """Return, for uses of layers, the rows an example and what `Layout.outer` may be."""
    found = {}
    for use, before, after in trial.inputs_of(uses, pair, same):
        changed = _changed(before, after, use[2])
        rows = len(changed) // 2
        found[use] = rows, [o for o in _divisors(rows) if _is_second(changed, o)]
    return found


def _matching(trial: "Trial", uses: Iterable[Use], pair: Arguments, alone: Arguments) -> Possible:
    """Return the same from what the first example's rows are where it is alone."""
    found = {}
    for use, both, one in trial.inputs_of(uses, pair, alone):
        left, right = (x.movedim(use[2], 0) for x in (both, one))
        rows = len(left) // 2
        firsts = {o: left.unflatten(0, (o, 2, -1))[:, 0].flatten(0, 1) for o in _divisors(rows)}
        same = [o for o, first in firsts.items() if not differ(first, right).any()]
        found[use] = rows, same
    return found


def _changed(before: Tensor, after: Tensor, axis: int) -> Tensor:
    """Return which rows differ, [2 k]; of an odd number, all do."""
    if before.shape[axis] % 2:
        return torch.ones(before.shape[axis] - 1, dtype=torch.bool)
    return differ(before.movedim(axis, 0), after.movedim(axis, 0))


def _is_second(changed: Tensor, outer: int) -> bool:
    """Whether only rows of the second example changed, if the rows are [outer, 2, inner]."""
    return not changed.unflatten(0, (outer, 2, -1))[:, 0].any()


def _divisors(rows: int) -> list[int]:
    return [o for o in range(1, rows + 1) if rows % o == 0]


def as_long_as(arguments: Arguments, examples: int, ndim: int) -> frozenset[int]:
    """Return the ids of tensors [b] or [b, b], of sequences that may be as long as the batch."""
    found = (leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, Tensor))
    return frozenset(id(t) for t in found if t.shape == (examples,) * ndim)


@torch.no_grad()
def cut(arguments: Arguments, examples: int, shared: Set[int], chosen: list[int]) -> Arguments:
    """Return arguments with a few examples, copied."""

    def rows(value: Any) -> Any:
        fits = isinstance(value, Tensor) and value.ndim > 0 and len(value) == examples
        return value[chosen] if fits and id(value) not in shared else value

    found: Arguments = pytree.tree_map(rows, arguments)
    return found


def _noisy(arguments: Arguments) -> Arguments:
    """Return arguments of two examples, the second with noise on its floats."""
    draw = torch.Generator().manual_seed(0)

    def blur(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point() or len(value) != 2:
            return value
        noise = torch.randn(value[1].shape, generator=draw, dtype=torch.float32)
        return torch.stack([value[0], value[1] + noise.to(value)])

    found: Arguments = pytree.tree_map(blur, arguments)
    return found
