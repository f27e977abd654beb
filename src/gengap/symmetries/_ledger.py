"""The book in which a pass through a network writes what must scale together."""

from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

ONE = 0
"""The label of numbers whose scale is fixed."""
ANY = -1
"""The label of zeros, which have every scale."""


@final
@dataclass(frozen=True, kw_only=True)
class Use:
    """One use of parameters whose elements scale as `plus` over `minus`.

    Attributes:
        name: The parameter, or None if `index` tells the elements.
        index: Numbers of the elements among those of all parameters; None is the whole parameter.
        plus: Labels that the elements are multiplied by; of a shape that broadcasts.
        minus: Labels that they are divided by.
    """

    name: str | None
    index: Tensor | None
    plus: Tensor
    minus: Tensor


@final
@dataclass(frozen=True, kw_only=True)
class NormUse:
    """One use of running statistics: names, epsilon, and labels of the channels that come in."""

    mean: str
    variance: str
    weight: str | None
    epsilon: float
    labels: Tensor


@final
@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A place that rescaling cannot cross.

    Attributes:
        module: Path of the module; empty for the model itself.
        kind: Its class.
        operation: The function that was called.
        reason: Why, as the rest of a sentence.
    """

    module: str
    kind: str
    operation: str
    reason: str

    def __str__(self) -> str:
        place = f"`{self.module}` ({self.kind})" if self.module else f"the model ({self.kind})"
        return f"{place}: `{self.operation}` {self.reason}."


@final
@dataclass(eq=False)
class Ledger:
    """Labels, and what is known of them.

    Every element of an activation carries a label, a variable that stands for the logarithm of
    its scale. Operations say which labels are equal and which are opposite.

    Attributes:
        permuting: Whether labels stand for units to be exchanged instead of scales.
    """

    permuting: bool = False
    count: int = 1
    equal: list[Tensor] = field(default_factory=list)
    opposite: list[Tensor] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    norms: dict[str, NormUse] = field(default_factory=dict)
    skipped: dict[tuple[str, str], Skipped] = field(default_factory=dict)
    births: list[str] = field(default_factory=lambda: [""])
    marks: list[tuple[Tensor, str]] = field(default_factory=list)

    def fresh(self, *shape: int, birth: str) -> Tensor:
        """Return new labels of a shape; the birth tells what made them."""
        size = torch.Size(shape).numel()
        labels = torch.arange(self.count, self.count + size, dtype=torch.float64)
        self.count += size
        self.births += [birth] * size
        return labels.view(shape)

    def same(self, left: Tensor, right: Tensor | float) -> None:
        """Require equal scales, element by element."""
        other = torch.as_tensor(right, dtype=torch.float64)
        left, other = torch.broadcast_tensors(left, other)
        _add(self.equal, left, other, left != other)

    def inverse(self, left: Tensor, right: Tensor) -> None:
        """Require that left times right keeps its scale; equal labels where units are permuted."""
        if self.permuting:
            return self.same(left, right)
        left, right = torch.broadcast_tensors(left, right)
        return _add(self.opposite, left, right, (left > ONE) | (right > ONE))

    def join(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the labels of a sum: those of its terms, which must be equal."""
        left, right = torch.broadcast_tensors(left, right)
        self.same(left, right)
        return torch.where(left == ANY, right, left)

    def uniform(self, labels: Tensor, keep: tuple[int, ...]) -> Tensor:
        """Require equal labels along all axes but some, and return those of the axes kept."""
        keep = tuple(axis % labels.ndim for axis in keep)
        rest = [axis for axis in range(labels.ndim) if axis not in keep]
        if not rest:
            return labels
        common = labels.amax(rest, keepdim=True)
        self.same(labels, common)
        return common.squeeze(rest)

    def mark(self, labels: Tensor, text: str) -> None:
        """Note something that sets these labels apart from others (of units to be exchanged)."""
        if self.permuting:
            self.marks.append((labels[labels > ONE].unique(), text))

    def skip(self, skipped: Skipped) -> None:
        """Write down a place that rescaling cannot cross, once."""
        self.skipped.setdefault((skipped.module, skipped.operation), skipped)

    def pin_everything(self) -> None:
        """Fix all scales so far."""
        self.same(torch.arange(self.count, dtype=torch.float64), ONE)


def _add(pairs: list[Tensor], left: Tensor, right: Tensor, wanted: Tensor) -> None:
    wanted = wanted & (left != ANY) & (right != ANY)
    if wanted.any():
        pairs.append(torch.stack([left[wanted], right[wanted]], dim=1).unique(dim=0))


def is_fixed(labels: Tensor) -> bool:
    """Whether no label stands for a scale that may change."""
    return not bool((labels > ONE).any())


Labels = Any
"""Labels of a tensor, or of several in the structure in which an operation returned them."""
