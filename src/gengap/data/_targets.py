"""Labels from outside made into class indices, or real values into float columns."""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from gengap._errors import DataError

from ._reading import Examples, Reading


def target_array(y: object, *, where: str) -> np.ndarray:
    """Return targets of any kind as an array: numbers [n] or [n, k], or strings [n]."""
    if isinstance(y, Tensor):
        y = y.detach().cpu()
        y = y.float() if y.dtype == torch.bfloat16 else y
    array = np.asarray(y)
    if array.dtype.kind == "S" or (
        array.dtype.kind in "OT" and all(isinstance(value, str) for value in array.flat)
    ):
        array = array.astype(str)
    if array.dtype.kind not in "buifU":
        raise DataError(
            f"`targets` of {where} must be numbers or strings; got the dtype {array.dtype}."
        )
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 0:
        raise DataError(f"`targets` of {where} must be one an example; got a single value.")
    return array


@final
@dataclass(frozen=True, kw_only=True)
class Classes:
    """The classes of a data set, and how labels become their indices.

    Attributes:
        num_classes: How many.
        class_names: Their names, or None.
        values: The label of every class where labels are mapped, in order; None if they are
            indices already.
    """

    num_classes: int
    class_names: tuple[str, ...] | None = None
    values: np.ndarray | None = None

    def encode(self, targets: np.ndarray, *, where: str) -> Tensor:
        """Return class indices, int64 [n]."""
        labels = _whole(targets, where=where)
        if self.values is None:
            self._check_known(labels, (labels >= 0) & (labels < self.num_classes), where)
            return torch.from_numpy(labels.astype(np.int64))
        strings = self.values.dtype.kind == "U"
        if (labels.dtype.kind == "U") != strings:
            wanted, got = ("strings", "numbers") if strings else ("numbers", "strings")
            raise DataError(f"`targets` of {where} must be {wanted} like the classes; got {got}.")
        order = np.argsort(self.values, kind="stable")
        place = np.searchsorted(self.values[order], labels).clip(max=len(order) - 1)
        codes = order[place]
        self._check_known(labels, self.values[codes] == labels, where)
        return torch.from_numpy(codes.astype(np.int64))

    def _check_known(self, labels: np.ndarray, known: np.ndarray, where: str) -> None:
        if known.all():
            return
        first = int(np.argmin(known))
        if self.values is None:
            rule = f"lie in 0..{self.num_classes - 1} for {self.num_classes} classes"
        else:
            rule = "be among the known classes " + _listed([str(v) for v in self.values])
        raise DataError(
            f"`targets` of {where} must {rule}; got {labels[first].item()!r} in example {first}."
        )


def find_classes(examples: Examples, reading: Reading) -> Classes:
    """Work out the classes from the labels of the train half and what the caller said.

    Strings, and whole numbers with gaps where neither `num_classes` nor `class_names` is given,
    are mapped to 0..c-1 in sorted order and kept as class names.
    """
    where = examples.where
    names = reading.class_names or examples.class_names
    labels = _whole(examples.targets, where=where)
    if labels.dtype.kind == "U":
        values = np.unique(labels) if names is None else np.array(names)
        classes = Classes(
            num_classes=reading.num_classes or len(values),
            class_names=tuple(values.tolist()),
            values=values,
        )
    else:
        _check_not_negative(labels, where)
        classes = _numbered(labels, reading.num_classes or (len(names) if names else None), names)
    if reading.num_classes is not None and len(classes.class_names or ()) > reading.num_classes:
        raise DataError(
            f"`targets` of {where} must have at most `num_classes`={reading.num_classes} different "
            f"values; got {len(classes.class_names or ())}."
        )
    if classes.num_classes < 2:
        raise DataError(
            f"`targets` of {where} must have at least two classes; got only "
            f"{labels[0].item()!r}. Give `num_classes` if there are more."
        )
    if classes.class_names is not None and len(classes.class_names) < classes.num_classes:
        return Classes(num_classes=classes.num_classes, values=classes.values)
    return classes


def _check_not_negative(labels: np.ndarray, where: str) -> None:
    if labels.min() < 0:
        first = int(np.argmax(labels < 0))
        raise DataError(
            f"`targets` of {where} must be at least 0; got {labels[first]} in example {first}. "
            "Number the classes from 0."
        )


def _numbered(labels: np.ndarray, count: int | None, names: tuple[str, ...] | None) -> Classes:
    if count is not None:
        return Classes(num_classes=count, class_names=names)
    values = np.unique(labels)
    if len(values) == int(values[-1]) + 1:
        return Classes(num_classes=len(values))
    return Classes(
        num_classes=len(values), class_names=tuple(map(str, values.tolist())), values=values
    )


def _whole(targets: np.ndarray, *, where: str) -> np.ndarray:
    """Return labels [n] as int64 or strings; float labels must be whole numbers."""
    if targets.ndim != 1:
        raise DataError(
            f"`targets` of {where} must be labels of shape [n]; got {tuple(targets.shape)}. For "
            "one-hot rows take their argmax; for real values give `regression=True`; for a label a "
            "position of sequences make a `gengap.data.Split`."
        )
    if targets.dtype.kind == "U":
        return targets
    if targets.dtype.kind == "f":
        wrong = ~(np.isfinite(targets) & (targets == np.floor(targets)))
        if wrong.any():
            first = int(np.argmax(wrong))
            raise DataError(
                f"`targets` of {where} must be whole numbers or strings; got {targets[first]} in "
                f"example {first}. For real values give `regression=True`."
            )
    return targets.astype(np.int64)


def real_targets(targets: np.ndarray, *, where: str) -> Tensor:
    """Return real values, float32 [n, k]."""
    if targets.dtype.kind == "U" or targets.ndim > 2:
        raise DataError(
            f"`targets` of {where} must be real values of shape [n] or [n, k] with "
            f"`regression=True`; got {targets.dtype} of shape {targets.shape}."
        )
    columns = torch.from_numpy(targets.reshape(len(targets), -1).astype(np.float32))
    wrong = ~columns.isfinite().all(1)
    if wrong.any():
        first = int(wrong.nonzero()[0])
        raise DataError(
            f"`targets` of {where} must be finite; got {columns[first].tolist()} in example "
            f"{first}."
        )
    return columns


def _listed(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:8]))
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown
