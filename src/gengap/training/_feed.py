"""Batches for a stack of lanes, by indexing on the device."""

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from gengap.data import Augmentation, Part, Source, Split

_CACHE_BYTES = 256 << 20
_ROWS = 1024


class Feed:
    """The examples of l lanes, served as batches [l, b, ...].

    Lanes whose splits share their stored examples share them here. Where the network inputs of
    all lanes fit into a modest cache and nothing is drawn anew, they are made once; otherwise
    stored examples stay as they are and inputs are made batch by batch.

    Attributes:
        splits: The split of every lane, on the device.
        sizes: The number of examples of every lane.
    """

    def __init__(self, splits: list[Split], device: torch.device, *, cache: bool = True) -> None:
        self.splits = _moved(splits, device)
        self._device = device
        self._share(splits)
        self._pool = self._cached() if cache else None
        self._stack()

    def _share(self, splits: list[Split]) -> None:
        """Number the lanes by whose stored examples and preprocessing they use."""
        first: dict[tuple[int, object], int] = {}
        keys = [(id(s.inputs), s.preprocessing) for s in splits]
        self._owner = [first.setdefault(key, i) for i, key in enumerate(keys)]

    def _stack(self) -> None:
        self.sizes = [len(s) for s in self.splits]
        longest = max(self.sizes)
        self._targets = torch.stack([_padded(s.targets, longest) for s in self.splits])
        self.changed = torch.stack([_padded(s.changed, longest) for s in self.splits])
        self.valid = torch.stack([
            torch.arange(longest, device=self._device) < n for n in self.sizes
        ])

    def _cached(self) -> Tensor | None:
        """Return the network inputs of all owners, one after the other, if they fit."""
        owners = sorted(set(self._owner))
        splits = [self.splits[i] for i in owners]
        floats = sum(len(s) * math.prod(s.input_shape) for s in splits)
        if 4 * floats > _CACHE_BYTES:
            return None
        ends = torch.tensor([len(s) for s in splits]).cumsum(0).tolist()
        start = dict(zip(owners, [0, *ends[:-1]], strict=True))
        self._offset = torch.tensor([start[i] for i in self._owner], device=self._device)
        return torch.cat([x.to(self._device) for s in splits for x, _ in s.batches(_ROWS)])

    def keep(self, lanes: list[int]) -> None:
        """Go on with the lanes at these positions."""
        self.splits = [self.splits[i] for i in lanes]
        kept = [self._owner[i] for i in lanes]
        self._owner = [kept.index(owner) for owner in kept]
        if self._pool is not None:
            self._offset = self._offset[torch.tensor(lanes, device=self._device)]
        self._stack()

    def batch(
        self,
        indices: Tensor,
        *,
        augmentation: Augmentation | None = None,
        generators: list[torch.Generator] | None = None,
        part: Part | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return inputs [l, b, ...] and targets [l, b] of the examples `indices` [l, b].

        These may be a part of a batch: they are then changed as they are in the whole.
        """
        indices = indices.to(self._device)
        lanes = torch.arange(len(indices), device=self._device)[:, None]
        x = self._inputs(indices, augmentation, generators, part)
        return x, self._targets[lanes, indices]

    def _inputs(
        self,
        indices: Tensor,
        augmentation: Augmentation | None,
        generators: list[torch.Generator] | None,
        part: Part | None,
    ) -> Tensor:
        shape = indices.shape
        if augmentation is None and self._pool is not None:
            flat = (indices + self._offset[:, None]).flatten()
            x = self._pool.index_select(0, flat)
            return x.view(*shape, *x.shape[1:])
        if augmentation is None and len(set(self._owner)) == 1:
            x = self._made(self.splits[0], indices.flatten())
            return x.view(*shape, *x.shape[1:])
        draws = generators or [None] * len(indices)  # type: ignore[list-item]
        return torch.stack([
            self._made(split, rows, augmentation, generator, part)
            for split, rows, generator in zip(self.splits, indices, draws, strict=True)
        ])

    def _made(
        self,
        split: Split,
        rows: Tensor,
        augmentation: Augmentation | None = None,
        generator: torch.Generator | None = None,
        part: Part | None = None,
    ) -> Tensor:
        raw = split.gather(rows).to(self._device)
        return split.preprocessing(raw, augmentation=augmentation, generator=generator, part=part)

    def in_order(
        self, size: int, part: Part | None = None
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield inputs, targets and indices [l, b] of all examples, or a part of them, in order.

        Lanes shorter than the longest are padded with their last example; see `valid`.
        """
        last = torch.tensor(self.sizes, device=self._device)[:, None] - 1
        first, end = (part.start, part.stop) if part else (0, max(self.sizes))
        for start in range(first, end, size):
            rows = torch.arange(start, min(start + size, end), device=self._device)
            indices = torch.minimum(rows[None, :], last)
            x, y = self.batch(indices)
            yield x, y, rows


def _moved(splits: list[Split], device: torch.device) -> list[Split]:
    """Return the splits on the device, where they share stored examples as they did before."""
    inputs: dict[int, Tensor | Source] = {}
    moved: dict[int, Split] = {}
    for split in splits:
        if id(split.inputs) not in inputs:
            inputs[id(split.inputs)] = split.to(device).inputs
        if id(split) not in moved:
            moved[id(split)] = replace(split, inputs=inputs[id(split.inputs)]).to(device)
    return [moved[id(split)] for split in splits]


def _padded(values: Tensor, length: int) -> Tensor:
    """Repeat the last entry until there are `length`."""
    return torch.cat([values, values[-1:].expand(length - len(values), *values.shape[1:])])
