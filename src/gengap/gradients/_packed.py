"""Packed sequences: which rows are whose, and the same sequences padded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Packing:
    """How examples of several lengths lie in the rows of a packed sequence.

    Attributes:
        lengths: Steps of every example, int64 [b].
        places: Where each row is among all steps of all examples, [t, b] taken flat; int64 [rows].
        batch_first: Whether padded sequences are [b, t, d], not [t, b, d].
    """

    lengths: Tensor
    places: Tensor
    batch_first: bool

    @classmethod
    def of(cls, packed: PackedSequence, *, batch_first: bool) -> "Packing":
        """Read how a sequence is packed: step by step, in each the longest examples first."""
        sizes, device = packed.batch_sizes, packed.data.device
        b = int(sizes[0])
        order = packed.sorted_indices
        order = torch.arange(b, device=device) if order is None else order
        steps = torch.arange(len(sizes)).repeat_interleave(sizes)
        within = torch.arange(len(steps)) - (sizes.cumsum(0) - sizes)[steps]
        lengths = torch.empty_like(order)
        lengths[order] = (sizes > torch.arange(b)[:, None]).sum(1).to(device)
        places = steps.to(device) * b + order[within.to(device)]
        return cls(lengths=lengths, places=places, batch_first=batch_first)

    def padded(self, rows: Tensor) -> Tensor:
        """Return the sequences, zero behind their ends."""
        b, t = len(self.lengths), int(self.lengths.max())
        steps = rows.new_zeros(t * b, *rows.shape[1:]).index_copy(0, self.places, rows)
        steps = steps.unflatten(0, (t, b))
        return steps.transpose(0, 1) if self.batch_first else steps

    def packed(self, steps: Tensor) -> Tensor:
        """Return the rows of padded sequences."""
        steps = steps.transpose(0, 1) if self.batch_first else steps
        return steps.flatten(0, 1)[self.places]

    def runs(self) -> list[Tensor]:
        """Return, for every step, which examples have it, bool [b, 1]."""
        steps = range(int(self.lengths.max()))
        return [(self.lengths > t)[:, None] for t in steps]


def packed_input(
    module: nn.Module, arguments: Sequence[Any], options: Mapping[str, Any]
) -> PackedSequence | None:
    """Return the packed sequence that a recurrent layer is given; None where it is none."""
    given = options.get("input", arguments[0] if arguments else None)
    return given if isinstance(module, nn.RNNBase) and isinstance(given, PackedSequence) else None


def first_step(packed: PackedSequence, *, batch_first: bool) -> Tensor:
    """Return the first step of every example, padded: [1, b, d] or [b, 1, d]."""
    steps = Packing.of(packed, batch_first=False).padded(packed.data)[:1]
    return steps.transpose(0, 1) if batch_first else steps


def padded_leaves(values: Sequence[Any]) -> list[Any]:
    """Return what is in the arguments of a model.

    Raises:
        ValueError: A packed sequence is: its first axis is not that of the examples.
    """
    leaves = pytree.tree_leaves(values, is_leaf=lambda value: isinstance(value, PackedSequence))
    if any(isinstance(leaf, PackedSequence) for leaf in leaves):
        raise ValueError(
            "`model` must be called with padded sequences, whose rows are the examples, and pack "
            "them itself; got a PackedSequence."
        )
    return leaves
