"""Which elements of the parameters belong to which unit, and what a permutation moves where."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from ._follow import Follower
from ._solve import components, merge_uses


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Exchange:
    """Numbers of units of parameters and running statistics.

    Attributes:
        units: Name to (rows, columns): the unit's number from 1, 0 for none, in shapes that
            broadcast to the parameter's. An element belongs to one unit as a row, to one as a
            column.
        classes: Numbers from 0 of units that may change places, class by class.
        count: Number of units.
    """

    units: Mapping[str, tuple[Tensor, Tensor]]
    classes: tuple[Tensor, ...]
    count: int

    def apply(self, tensors: Mapping[str, Tensor], order: Tensor) -> None:
        """Move elements in place: what belonged to unit order[i] then belongs to unit i."""
        moved = torch.zeros(self.count + 1, dtype=torch.int64)
        moved[order + 1] = torch.arange(1, self.count + 1)
        for name, labels in self.units.items():
            if any(not torch.equal(moved[part], part) for part in labels):
                _move(tensors[name], labels, moved)

    def members(self, numbers: Tensor) -> tuple[str, ...]:
        """Return the names of what holds elements of some units."""
        wanted = numbers + 1
        return tuple(
            name
            for name, labels in self.units.items()
            if any(bool(torch.isin(part, wanted).any()) for part in labels)
        )


def _move(target: Tensor, labels: tuple[Tensor, Tensor], moved: Tensor) -> None:
    axes = [[axis for axis, size in enumerate(part.shape) if size > 1] for part in labels]
    values = target.detach()
    if all(len(some) <= 1 for some in axes) and axes[0] != axes[1]:
        for part, some in zip(labels, axes, strict=True):
            if some:
                index = _places([part.reshape(-1)], moved).to(values.device)
                axis = some[0] - part.ndim + values.ndim
                values = values.index_select(axis, index)
    else:
        keys = [part.expand(target.shape).reshape(-1) for part in labels]
        index = _places(keys, moved).to(values.device)
        values = values.reshape(-1)[index].view(target.shape)
    with torch.no_grad():
        target.copy_(values)


def _places(keys: list[Tensor], moved: Tensor) -> Tensor:
    """Return, for each element, the place it takes its value from."""
    order = np.arange(len(keys[0]))
    new = np.lexsort((order, *(key.numpy() for key in keys)))
    old = np.lexsort((order, *(moved[key].numpy() for key in keys)))
    index = np.empty_like(new)
    index[new] = old
    return torch.from_numpy(index)


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def exchange_of(follower: Follower) -> Exchange:
    """Return what a followed pass says of units that may change places."""
    merged = merge_uses(follower)
    for use in follower.ledger.norms.values():
        for name in (use.mean, use.variance):
            merged[name] = use.labels.clamp(min=0), torch.zeros(1, dtype=torch.float64)
    numbers = components(follower.ledger)
    count = int(numbers.max()) if len(numbers) else 0
    units = {
        name: (numbers[rows.long()], numbers[columns.long()])
        for name, (rows, columns) in merged.items()
    }
    units = {name: pair for name, pair in units.items() if pair[0].any() or pair[1].any()}
    classes: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for unit, kind in enumerate(_kinds(follower, numbers, units, count)):
        classes[kind].append(unit)
    return Exchange(
        units=units,
        classes=tuple(torch.tensor(some) for some in classes.values() if len(some) > 1),
        count=count,
    )


def _kinds(
    follower: Follower, numbers: Tensor, units: dict[str, tuple[Tensor, Tensor]], count: int
) -> list[tuple[object, ...]]:
    """Return what two units must have in common to change places."""
    births: list[set[str]] = [set() for _ in range(count)]
    for number, birth in zip(numbers.tolist(), follower.ledger.births, strict=True):
        if number:
            births[number - 1].add(birth)
    for labels, text in follower.ledger.marks:
        for number in numbers[labels.long()].unique().tolist():
            if number:
                births[number - 1].add(text)
    sizes = [
        torch.bincount(part.reshape(-1), minlength=count + 1)[1:].tolist()
        for pair in units.values()
        for part in pair
    ]
    return [
        (tuple(sorted(births[unit])), tuple(size[unit] for size in sizes)) for unit in range(count)
    ]
