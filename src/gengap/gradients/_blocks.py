"""Gradients of single examples, materialized one block of parameters at a time."""

from collections.abc import Collection, Iterator
from functools import partial
from typing import final

import torch
from torch import Tensor

from gengap.risk import Risk

from ._engine import run
from ._one_part import OnePart
from ._part import Part
from ._plan import Plan

_ENTRIES_AT_ONCE = 1 << 26


def per_example_gradients(
    risk: Risk, *, without: Collection[str] = ()
) -> Iterator[tuple[str, Tensor]]:
    """Yield the gradients of all examples by one parameter after the other.

    Where a method truly needs them: norms, sums and inner products are to be had without. At
    most 2^26 entries, or the largest single block, are held at once; each such group of blocks
    costs a forward and backward pass that differentiates only by the inputs of layers.

    Args:
        risk: Model, loss and examples.
        without: Names of parameters to leave out.

    Yields:
        Parameter name, and gradients [n, *shape] in the dtype of the risk.

    Raises:
        ValueError: `without` names what is no parameter.
    """
    for name in without:
        if name not in risk.params:
            raise ValueError(f"`without` must name parameters of the model; got {name!r}.")
    for names in _groups(risk, without):
        recorder, _ = run(risk, partial(_Rows, names))
        for name in names:
            rows = recorder.rows.pop(name)
            shape = (risk.n, *risk.params[name].shape)
            yield name, torch.cat(rows) if rows else risk.params[name].new_zeros(shape)


def _groups(risk: Risk, without: Collection[str]) -> Iterator[list[str]]:
    group: list[str] = []
    entries = 0
    for name, p in risk.params.items():
        if name in without:
            continue
        size = p.numel() * risk.n
        if group and entries + size > _ENTRIES_AT_ONCE:
            yield group
            group, entries = [], 0
        group.append(name)
        entries += size
    if group:
        yield group


@final
class _Rows(OnePart):
    def __init__(self, names: Collection[str], plan: Plan) -> None:
        super().__init__(plan)
        self.rows: dict[str, list[Tensor]] = {name: [] for name in names}

    def take(self, name: str, part: Part) -> None:
        if name in self.rows:
            self.rows[name].append(part.dense())
