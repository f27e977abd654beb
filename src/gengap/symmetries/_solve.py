"""From what must be equal or opposite to the scales that are free."""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from ._follow import Follower
from ._ledger import ANY, ONE, Ledger

_MOST_PAIRS = 1 << 23


@final
@dataclass(frozen=True, kw_only=True)
class Exponents:
    r"""How the elements of one parameter scale: $e^{t_i - t_j}$.

    Attributes:
        plus: Number i of the log-scale, counted from 1, negative for one over it, 0 for none; of
            a shape that broadcasts to the parameter's.
        minus: The same for j.
    """

    plus: Tensor
    minus: Tensor

    def log_factors(self, log_scales: Tensor) -> Tensor:
        """Return the logarithms of the factors, of a shape that broadcasts."""
        return _look_up(log_scales, self.plus) - _look_up(log_scales, self.minus)


def _look_up(log_scales: Tensor, numbers: Tensor) -> Tensor:
    padded = torch.cat([log_scales.new_zeros(1), log_scales])
    return padded[numbers.abs()] * numbers.sign()


def merge_uses(follower: Follower) -> dict[str, tuple[Tensor, Tensor]]:
    """Return labels (plus, minus) of each parameter; several uses of one must agree."""
    ledger, merged = follower.ledger, {}
    whole: dict[str, tuple[Tensor, Tensor]] = {}
    for use in ledger.uses:
        if use.name is None:
            continue
        if use.name not in whole:
            whole[use.name] = use.plus, use.minus
            continue
        for old, new in zip(whole[use.name], (use.plus, use.minus), strict=True):
            _agree(ledger, old, new)
    merged.update(whole)
    for use in ledger.uses:
        if use.index is not None:
            _merge_view(follower, merged, use.index, use.plus, use.minus)
    return {name: (_settled(plus), _settled(minus)) for name, (plus, minus) in merged.items()}


def _settled(labels: Tensor) -> Tensor:
    return labels.clamp(min=float(ONE))


def _agree(ledger: Ledger, old: Tensor, new: Tensor) -> None:
    if torch.broadcast_shapes(old.shape, new.shape).numel() > _MOST_PAIRS:
        ledger.same(old, ONE)
        ledger.same(new, ONE)
    else:
        ledger.same(old, new)


def _merge_view(
    follower: Follower,
    merged: dict[str, tuple[Tensor, Tensor]],
    index: Tensor,
    plus: Tensor,
    minus: Tensor,
) -> None:
    flat = index.reshape(-1).long()
    for name, start in follower.offsets.items():
        parameter = follower.parameters[name]
        inside = (flat >= start) & (flat < start + parameter.numel())
        if not inside.any():
            continue
        places, pair = flat[inside] - start, []
        old = merged.get(name)
        for number, labels in enumerate((plus, minus)):
            new = labels.reshape(-1)[inside]
            if old is None:
                full = torch.full((parameter.numel(),), float(ANY), dtype=torch.float64)
            else:
                full = old[number].expand(parameter.shape).reshape(-1).clone()
            follower.ledger.same(full[places], new)
            full[places] = new
            follower.ledger.same(full[places], new)  # an element may occur twice in one view
            pair.append(full.view(parameter.shape))
        merged[name] = pair[0], pair[1]


def components(ledger: Ledger) -> Tensor:
    """Return for each label the number of its free scale, from 1; negative is one over it."""
    count = ledger.count
    pairs = [torch.zeros(0, 2, dtype=torch.float64), *ledger.equal]
    equal = torch.cat(pairs).long().numpy()
    opposite = torch.cat([pairs[0], *ledger.opposite]).long().numpy()
    shift = np.array([0, count])
    edges = np.concatenate([
        *(equal, equal + count, opposite + shift, opposite + shift[::-1], shift[None]),
    ])
    rows, columns = edges.T.astype(np.int32)  # SciPy 1.11 takes no others here, and says nothing
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(2 * count, 2 * count))
    _, found = connected_components(graph, directed=False)
    plus, minus = found[:count], found[count:]
    fixed = (plus == minus) | (plus == found[0])
    pair = np.minimum(plus, minus)
    first: dict[int, tuple[int, int]] = {}
    numbers = np.zeros(count, dtype=np.int64)
    for label in np.flatnonzero(~fixed):
        number, positive = first.setdefault(int(pair[label]), (len(first) + 1, int(plus[label])))
        numbers[label] = number if plus[label] == positive else -number
    return torch.from_numpy(numbers)
