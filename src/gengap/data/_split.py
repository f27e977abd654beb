"""One half of a data set: stored examples, targets, and how to turn them into batches."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, final

import numpy as np
import torch
from torch import Tensor

from gengap._checks import check_choice, keep_counts

from ._augmentation import Augmentation
from ._preprocessing import Preprocessing
from ._source import Source
from ._subset import SubsetSource

Index = int | slice | Tensor | np.ndarray | list[int] | list[bool]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Examples and targets: the train half or the test half of a data set.

    Examples stay as they are stored, 8-bit images as 8-bit images, until a batch is made. A
    split is never changed: corruptions, subsets and moves return another one, which shares what
    it can.

    Attributes:
        inputs: Stored examples, [n, ...]: a tensor, or a Source that fetches them.
        targets: Class indices, int64 [n]; or real values, float [n, k]; or of sequences a class a
            position, int64 [n, t], where -100 does not count.
        num_classes: Number of classes c; None where targets are real values or of sequences.
        half: "train" or "test". Corruptions of labels leave a test half alone unless told not to.
        name: What to call it in reports.
        class_names: A name for every class, or None.
        files: Where every example lies, relative to its folder, strings [n]; None where examples
            are not files.
        preprocessing: The way from stored examples to network inputs.
        changed: Which examples a corruption changed, Bool [n].
        true_targets: The targets before any corruption, like `targets`.
    """

    inputs: Tensor | Source
    targets: Tensor
    num_classes: int | None = None
    half: Literal["train", "test"] = "train"
    name: str = "data"
    class_names: tuple[str, ...] | None = None
    files: np.ndarray | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    changed: Tensor = None  # type: ignore[assignment]
    true_targets: Tensor = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        check_choice("half", self.half, ("train", "test"))
        n = len(self.inputs)
        if n == 0:
            raise ValueError(f"`{self.name}` must hold at least one example; got none.")
        if len(self.targets) != n:
            raise ValueError(
                f"`{self.name}` must have one target an example; got {n} examples and "
                f"{len(self.targets)} targets."
            )
        keep_counts(self, "num_classes", optional=True)
        if self.files is not None:
            object.__setattr__(self, "files", np.asarray(self.files))
            if self.files.shape != (n,):
                raise ValueError(
                    f"`files` of `{self.name}` must name each of its {n} examples; got shape "
                    f"{self.files.shape}."
                )
        if self.num_classes is not None:
            self._check_labels(self.num_classes)
        self.preprocessing.output_shape(tuple(self.inputs.shape[1:]))
        if isinstance(self.inputs, Tensor) and self.inputs.is_contiguous():
            object.__setattr__(self, "inputs", _usual_strides(self.inputs))
        if self.changed is None:
            object.__setattr__(self, "changed", torch.zeros(n, dtype=torch.bool))
        if self.true_targets is None:
            object.__setattr__(self, "true_targets", self.targets)

    def _check_labels(self, num_classes: int) -> None:
        if self.targets.dtype != torch.int64 or self.targets.ndim != 1:
            raise ValueError(
                f"`targets` of `{self.name}` must be class indices, int64 of shape [n]; got "
                f"{self.targets.dtype} of shape {tuple(self.targets.shape)}."
            )
        low, high = int(self.targets.min()), int(self.targets.max())
        if low < 0 or high >= num_classes:
            wrong = low if low < 0 else high
            raise ValueError(
                f"`targets` of `{self.name}` must lie in 0..{num_classes - 1} for {num_classes} "
                f"classes; got {wrong}."
            )

    def __len__(self) -> int:
        return len(self.inputs)

    def __repr__(self) -> str:
        kind = f"{self.num_classes} classes" if self.num_classes else "real targets"
        return (
            f"Split({self.name!r}, {self.half}, n={len(self)}, shape={self.input_shape}, {kind}, "
            f"changed={int(self.changed.sum())})"
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one network input, images as (channels, height, width)."""
        return self.preprocessing.output_shape(tuple(self.inputs.shape[1:]))

    @property
    def tokens(self) -> bool:
        """Whether network inputs are whole numbers, such as the tokens of a text."""
        return self.preprocessing.keeps_whole(self.inputs.dtype)

    @property
    def device(self) -> torch.device:
        """Where the stored examples are; the CPU for a Source."""
        return self.inputs.device if isinstance(self.inputs, Tensor) else torch.device("cpu")

    def with_true_targets(self, true_targets: Sequence[int] | Sequence[str] | Tensor) -> "Split":
        """Return the split with the classes known to be right: others are marked as `changed`.

        Args:
            true_targets: Class indices, or names of the split's classes, one an example.

        Raises:
            ValueError: They are not classes of the split, or not one an example.
        """
        if self.num_classes is None:
            raise ValueError("`targets` must be classes for some to be wrong; got real values.")
        values = np.asarray(true_targets)
        if values.dtype.kind in "UO":
            places = {name: i for i, name in enumerate(self.class_names or ())}
            unknown = next((v for v in values.flat if v not in places), None)
            if unknown is not None:
                raise ValueError(
                    f"`true_targets` must be classes of `{self.name}`; got {str(unknown)!r}."
                )
            values = np.array([places[name] for name in values.flat]).reshape(values.shape)
        right = torch.from_numpy(values.astype(np.int64)).to(self.targets.device)
        if right.shape != self.targets.shape or not np.array_equal(right.cpu().numpy(), values):
            raise ValueError(
                f"`true_targets` must be one class an example of {len(self)}; got shape "
                f"{values.shape} of {values.dtype}."
            )
        if len(right) and not 0 <= int(right.min()) <= int(right.max()) < self.num_classes:
            raise ValueError(
                f"`true_targets` must lie in 0..{self.num_classes - 1}; got {int(right.min())} to "
                f"{int(right.max())}."
            )
        return replace(self, true_targets=right, changed=self.changed | (right != self.targets))

    def __getitem__(self, index: Index) -> "Split":
        """Return the split of the chosen examples, in the chosen order."""
        indices = self._indices(index)
        if isinstance(self.inputs, Tensor):
            view = isinstance(index, slice) and (index.step or 1) > 0
            inputs: Tensor | Source = self.inputs[index] if view else self.gather(indices)
        else:
            inputs = SubsetSource(self.inputs, indices)
        pick = indices.to(self.targets.device)
        return replace(
            self,
            inputs=inputs,
            targets=self.targets[pick],
            changed=self.changed[pick],
            true_targets=self.true_targets[pick],
            files=None if self.files is None else self.files[indices.numpy()],
        )

    def _indices(self, index: Index) -> Tensor:
        if isinstance(index, slice):
            return torch.from_numpy(np.arange(len(self))[index].copy())
        chosen = torch.as_tensor(index).cpu()
        if chosen.numel() == 0:
            return torch.zeros(0, dtype=torch.int64)
        if chosen.dtype == torch.bool:
            if chosen.shape != (len(self),):
                raise ValueError(
                    f"A mask of examples must have shape ({len(self)},); got {tuple(chosen.shape)}."
                )
            return chosen.nonzero().squeeze(1)
        if chosen.is_floating_point() or chosen.ndim > 1:
            raise ValueError(
                "Indices of examples must be whole numbers in one row; got "
                f"{chosen.dtype} of shape {tuple(chosen.shape)}."
            )
        return torch.arange(len(self))[chosen.reshape(-1).long()]

    def gather(self, indices: Tensor) -> Tensor:
        """Return stored examples [b, ...] at `indices`, from 0 to n - 1, on the split's device."""
        if isinstance(self.inputs, Tensor):
            return self.inputs.index_select(0, indices.to(self.inputs.device))
        return self.inputs.gather(indices.cpu())

    def batch(
        self,
        indices: Tensor | None = None,
        *,
        augmentation: Augmentation | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return network inputs [b, ...] and targets [b] at `indices` (default: all).

        Inputs are floats, unless they are tokens.
        """
        if indices is None:
            indices = torch.arange(len(self))
        x = self.preprocessing(self.gather(indices), augmentation=augmentation, generator=generator)
        return x, self.targets[indices.to(self.targets.device)]

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all examples in order, `size` at a time; the last batch may be smaller."""
        for start in range(0, len(self), size):
            stop = min(start + size, len(self))
            if isinstance(self.inputs, Tensor):
                raw = self.inputs[start:stop]
                x = self.preprocessing(raw)
                own = x.untyped_storage().data_ptr() != raw.untyped_storage().data_ptr()
                yield x if own else x.clone(), self.targets[start:stop]
            else:
                yield self.batch(torch.arange(start, stop))

    def to(self, device: torch.device | str) -> "Split":
        """Return the split with its tensors on `device`; a Source stays where it is."""
        inputs = self.inputs.to(device) if isinstance(self.inputs, Tensor) else self.inputs
        return replace(
            self,
            inputs=inputs,
            targets=self.targets.to(device),
            changed=self.changed.to(device),
            true_targets=self.true_targets.to(device),
        )

    def fingerprint(self) -> str:
        """Return a hash of examples, targets and preprocessing: equal splits, equal hashes.

        Where some examples are marked as changed, or true targets differ from the targets, these
        belong to it. The half, the names and the files do not.
        """
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((self.preprocessing, self.num_classes)).encode())
        if isinstance(self.inputs, Tensor):
            _update(digest, self.inputs)
        else:
            digest.update(self.inputs.fingerprint().encode())
        _update(digest, self.targets)
        if self.changed.any():
            _update(digest, self.changed)
        if not torch.equal(self.true_targets, self.targets):
            _update(digest, self.true_targets)
        return digest.hexdigest()


def _usual_strides(x: Tensor) -> Tensor:
    """Return contiguous x with the strides of a new tensor, on axes of length one, too.

    Those of a grey image may else be read as channels last, and `view` fails on what follows.
    """
    usual = x.view(-1).view(x.shape)
    return x if usual.stride() == x.stride() else usual


def _update(digest: "hashlib.blake2b", tensor: Tensor) -> None:
    """Feed dtype, shape and bytes of a tensor to a hash."""
    array = tensor.detach().cpu().contiguous().numpy()
    digest.update(f"{array.dtype.str}{array.shape}".encode())
    digest.update(array.reshape(-1).view(np.uint8).data)
