"""One part out of the several uses of one parameter."""

from collections.abc import Sequence

import torch

from ._part import DensePart, Part, SequencePart


def merged(parts: Sequence[Part]) -> Part:
    """Return the sum of parts of one parameter.

    Outer products, sequences and tables become one longer sequence; whatever else, the sum of
    the materialized gradients.
    """
    if len(parts) == 1:
        return parts[0]
    sequences = [part.sequence() for part in parts]
    if all(part is not None for part in sequences):
        found = [part for part in sequences if part is not None]
        inputs = torch.cat([part.inputs for part in found], 1)
        deltas = torch.cat([part.deltas for part in found], 1)
        return SequencePart(inputs, deltas, parts[0].shape)
    total = parts[0].dense().clone()
    for part in parts[1:]:
        total += part.dense()
    return DensePart(total)
