"""Whether following common values gives the gradients of single examples: tried on two of them."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ._batch import Batch
from ._example_axes import Places
from ._intercept import bare, intercepted
from ._merge import merged
from ._part import Part
from ._trial import Arguments, aside, noise
from ._use import Recorder

_SAME, _ROUNDING = 1e-2, 1e-9
"""Shares of a squared norm, a parameter's and the whole gradient's, by which two may differ."""


def gradients_agree(
    module: nn.Module, pair: Arguments, alone: Sequence[Arguments], places: Places, common: Set[str]
) -> bool:
    """Say whether common values meet two examples, and give them the gradients of each alone.

    The module's parameters are noise, and so is what its outputs are multiplied with.

    Args:
        module: The module that is called.
        pair: What it is called with, two examples.
        alone: The same for each of them.
        places: Where the examples are in its layers.
        common: Names of modules whose values are the same for all examples.
    """
    values = {name: v.requires_grad_() for name, v in noise(module, trained=True).items()}
    recorder = _Norms(examples=2)
    names = {id(value): name for name, value in values.items()}
    axes = {name: axis for name, axis in places.axes.items() if axis}
    folds = dict(places.folds)
    try:
        with aside(module), _swapped(module, values), torch.enable_grad():
            known: dict[str, Any] = {"axes": axes, "folds": folds, "common": common}
            with intercepted(module, recorder, names=names, **known):
                beside = _gradients(module(*pair[0], **pair[1]), values, slice(0, 2))
            with bare(module):
                found = [
                    _gradients(module(*one[0], **one[1]), values, slice(i, i + 1))
                    for i, one in enumerate(alone)
                ]
    except Exception:  # whatever the user's code makes of noise
        return False
    if any(g is not None and bool(g.any()) for g in beside.values()) or not recorder.batch.common:
        return False
    seen = recorder.squared_norms()
    wanted = {name: torch.stack([_square(one[name]) for one in found]) for name in values}
    nothing = torch.zeros(len(found), dtype=torch.float64)
    least = _ROUNDING * sum(wanted.values(), nothing)
    return all(
        bool(((seen.get(name, nothing) - norms).abs() <= _SAME * norms + least).all())
        for name, norms in wanted.items()
    )


def _square(gradient: Tensor | None) -> Tensor:
    if gradient is None:
        return torch.zeros((), dtype=torch.float64)
    return gradient.to_dense().double().square().sum().cpu()


def _gradients(outputs: Any, values: Mapping[str, Tensor], rows: slice) -> dict[str, Tensor | None]:
    """Differentiate the outputs that have a row an example, times noise."""
    draw = torch.Generator().manual_seed(2)
    total: Tensor | float = 0.0
    count = rows.stop - rows.start
    for leaf in pytree.tree_leaves(outputs):
        if isinstance(leaf, Tensor) and leaf.requires_grad and leaf.ndim and len(leaf) == count:
            weights = torch.randn((2, *leaf.shape[1:]), generator=draw, dtype=torch.float64)
            total = total + (leaf * weights[rows].to(leaf)).sum()
    if not isinstance(total, Tensor):
        raise ValueError("no output has a row an example")
    found = torch.autograd.grad(total, list(values.values()), allow_unused=True)
    return dict(zip(values, found, strict=True))


@contextmanager
def _swapped(module: nn.Module, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Put other tensors in the place of parameters, in all their places."""
    held = {id(p): values[name] for name, p in module.named_parameters() if name in values}
    places = [
        (part._parameters, slot, p)
        for part in module.modules()
        for slot, p in part._parameters.items()
        if id(p) in held
    ]
    try:
        for slots, slot, p in places:
            slots[slot] = held[id(p)]  # type: ignore[assignment]
        yield
    finally:
        for slots, slot, p in places:
            slots[slot] = p


@final
class _Norms(Recorder):
    """Keeps the parts of a call."""

    takes_tokens = True

    def __init__(self, examples: int) -> None:
        self.examples = examples
        self.batch: Batch = Batch(examples)
        self._parts: dict[str, list[Part]] = defaultdict(list)

    def record(self, parts: Mapping[str, Part]) -> dict[str, Tensor | None]:
        """Keep the parts; autograd gets nothing."""
        for name, part in parts.items():
            self._parts[name].append(part)
        return {}

    def squared_norms(self) -> dict[str, Tensor]:
        """Return the squared norms of every parameter, [b]."""
        return {
            name: (merged(parts) if len(parts) > 1 else parts[0]).squared_norms().cpu()
            for name, parts in self._parts.items()
        }
