"""Trying permutations of units before they are believed."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from gengap._streams import streams

from ._difference import difference, tolerance_of
from ._exchange import Exchange
from ._ledger import Skipped
from ._symmetries import Permutation, Symmetries, modules_of


def random_order(exchange: Exchange, classes: tuple[Tensor, ...], seed: int) -> Tensor:
    """Return an order of all units that is random within each class, [count]."""
    generator, order = streams(seed)("permutation"), torch.arange(exchange.count)
    for numbers in classes:
        order[numbers] = numbers[torch.randperm(len(numbers), generator=generator)]
    return order


def with_exchange(
    model: nn.Module, inputs: tuple[Any, ...], found: Symmetries, exchange: Exchange
) -> Symmetries:
    """Return the symmetries with those permutations that keep the function when tried."""

    def keeps(classes: tuple[Tensor, ...]) -> bool:
        order = random_order(exchange, classes, 0)
        other = replace(found, exchange=exchange).permute(model, order)
        return difference(model, other, inputs) <= tolerance_of(model)

    skipped, good = list(found.skipped), list(exchange.classes)
    if not keeps(exchange.classes):
        good = [numbers for numbers in good if keeps((numbers,))]
    permutations = []
    for numbers in exchange.classes:
        members = exchange.members(numbers)
        name = modules_of(members)
        if any(numbers is kept for kept in good):
            permutations.append(
                Permutation(name=name, units=len(numbers), numbers=numbers, parameters=members)
            )
        else:
            reason = "could be permuted by its structure, but the function changed when tried"
            skipped.append(
                Skipped(module=name, kind="permutation", operation="forward", reason=reason)
            )
    return replace(
        found,
        permutations=tuple(permutations),
        skipped=tuple(skipped),
        exchange=replace(exchange, classes=tuple(good)),
    )
