"""A labelling of examples: a group for each of them, and the groups' names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from gengap.data import Split

Groups = Tensor | np.ndarray | Sequence[object] | str


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Labelling:
    """Which group each example belongs to.

    Attributes:
        names: Names of the groups, k of them; none is empty.
        index: The group of every example, int64 [n], in 0..k-1.
    """

    names: tuple[object, ...]
    index: Tensor

    @property
    def counts(self) -> list[int]:
        """Number of examples in each group, [k]."""
        return torch.bincount(self.index, minlength=len(self.names)).tolist()

    def members(self, group: int) -> Tensor:
        """Return the indices of a group's examples."""
        return (self.index == group).nonzero().squeeze(1)


def labelled(split: Split, groups: Groups) -> Labelling:
    """Return a labelling of a split's examples.

    Args:
        split: The examples.
        groups: One label an example, [n]: numbers, booleans or strings; or "changed": the
            examples that a corruption left alone are "clean", the others "corrupted".

    Raises:
        ValueError: There is not one label an example.
    """
    if isinstance(groups, str):
        if groups != "changed":
            raise ValueError(
                f"`groups` must hold one label an example, or be 'changed'; got {groups!r}."
            )
        names = np.array(["clean", "corrupted"])
        return _compact(names[split.changed.cpu().long().numpy()])
    return labelled_rows(groups, n=len(split))


def labelled_rows(groups: Groups, *, n: int) -> Labelling:
    """Return the labelling by n labels, one an example.

    Raises:
        ValueError: There is not one label for each.
    """
    labels = np.asarray(groups.cpu() if isinstance(groups, Tensor) else groups)
    if labels.shape != (n,):
        raise ValueError(
            f"`groups` must hold one label an example, shape ({n},); got shape {labels.shape}."
        )
    return _compact(labels)


def classes(split: Split) -> Labelling:
    """Return the labelling by target, under the names of the classes.

    Raises:
        ValueError: The targets are no classes.
    """
    if split.num_classes is None:
        raise ValueError(
            "`per_class` must be False for real targets; got True. Label the examples with "
            "`groups` instead."
        )
    found = _compact(split.targets.cpu().numpy())
    if split.class_names is None:
        return found
    names = tuple(split.class_names[int(label)] for label in found.names)  # type: ignore[call-overload]
    return Labelling(names=names, index=found.index)


def crossed(labellings: Sequence[Labelling]) -> Labelling:
    """Return the labelling whose groups are the non-empty intersections of all the groups."""
    rows = torch.stack([labelling.index for labelling in labellings], 1)
    cells, index = torch.unique(rows, dim=0, return_inverse=True)
    return Labelling(names=tuple(map(tuple, cells.tolist())), index=index)


def _compact(labels: np.ndarray) -> Labelling:
    names, index = np.unique(labels, return_inverse=True)
    return Labelling(names=tuple(names.tolist()), index=torch.from_numpy(index.astype(np.int64)))
