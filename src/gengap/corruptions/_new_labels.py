"""What corruptions of labels share: who is asked, and what is recorded."""

from dataclasses import replace

from torch import Tensor

from gengap.data import Split


def num_label_classes(split: Split, *, corruption: str, least: int = 1) -> int:
    """Return the number of classes, or say why the labels cannot be changed."""
    if split.num_classes is None:
        raise ValueError(
            f"{corruption} needs class labels; got real-valued targets in `{split.name}`."
        )
    if split.num_classes < least:
        raise ValueError(
            f"{corruption} needs at least {least} classes; got {split.num_classes} in "
            f"`{split.name}`."
        )
    return split.num_classes


def is_spared(split: Split, *, test_labels: bool) -> bool:
    """Return whether the labels stay as they are because this is a test half."""
    return split.half == "test" and not test_labels


def with_labels(split: Split, labels: Tensor) -> Split:
    """Return the split with other labels; an example counts as changed if its label differs."""
    labels = labels.to(split.targets.device)
    return replace(split, targets=labels, changed=split.changed | (labels != split.targets))
