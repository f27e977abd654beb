"""Examples of a map-style torch Dataset, in memory if they fit, else fetched by index."""

import hashlib
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, TensorDataset

from gengap._errors import DataError

from ._inputs import arranged, arrangement, as_array, check_finite, stored_alike, stored_inputs
from ._pictures import bands, is_picture
from ._reading import Examples, Reading
from ._source import Source
from ._targets import target_array

_SAMPLES = 100


@final
class DatasetSource(Source):
    """The inputs of a map-style dataset, fetched by index and checked as they come.

    Random transforms of the dataset stay random: every fetch draws anew, and the fingerprint,
    one pass over all examples, is then that of its own draw.

    Attributes:
        declared: The targets that the dataset has for all examples at once, with which those of
            every fetch must agree, and the attribute they are from; or None.
    """

    def __init__(self, dataset: Any, *, reading: Reading, where: str) -> None:
        self.dataset = dataset
        self.where = where
        self.declared: tuple[str, np.ndarray] | None = None
        given = self.pair(0)[0]
        self.pictures = is_picture(given) and reading.layout != "tokens"
        layout = "channels_first" if self.pictures else reading.layout
        first = self._raw(given)
        self.arrangement = arrangement(first[None], layout=layout, where=where)
        self.stored_shape, self.stored_dtype = tuple(first.shape), first.dtype
        one = arranged(first[None], self.arrangement)
        self.shape = (len(dataset), *one.shape[1:])
        self.dtype = one.dtype
        self._fingerprint = ""

    def pair(self, index: int) -> tuple[object, object]:
        """Return input and target of one example."""
        item = self.dataset[index]
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            raise DataError(
                f"{self.where} must give pairs (input, target); example {index} is "
                f"{_described(item)}."
            )
        return item[0], item[1]

    def _raw(self, x: object) -> np.ndarray | Tensor:
        seen = bands(x, where=self.where) if self.pictures and is_picture(x) else x
        return as_array(seen, where=self.where)

    def stack(self, inputs: list[object], indices: list[int]) -> Tensor:
        """Return stored inputs [b, ...] of the examples at `indices`."""
        arrays = [self._raw(x) for x in inputs]
        for index, array in zip(indices, arrays, strict=True):
            if tuple(array.shape) != self.stored_shape:
                raise DataError(
                    f"`inputs` of {self.where} must all have the shape {self.stored_shape}, that "
                    f"of the first; got {tuple(array.shape)} in example {index}."
                )
            if not stored_alike(self.stored_dtype, array.dtype, self.arrangement):
                raise DataError(
                    f"`inputs` of {self.where} must all have a dtype like {self.stored_dtype}, "
                    f"that of the first; got {array.dtype} in example {index}. Give all as one."
                )
        if isinstance(arrays[0], Tensor):
            batch: np.ndarray | Tensor = torch.stack([torch.as_tensor(a) for a in arrays]).cpu()
        else:
            batch = np.stack([np.asarray(a) for a in arrays])
        result = arranged(batch, self.arrangement)
        check_finite(result, where=self.where, names=indices)
        return result.to(self.dtype)

    def gather(self, indices: Tensor) -> Tensor:
        """Return the stored examples at `indices`."""
        numbers = indices.tolist()
        if not numbers:
            return torch.empty((0, *self.shape[1:]), dtype=self.dtype)
        pairs = [self.pair(index) for index in numbers]
        for index, (_, target) in zip(numbers, pairs, strict=True):
            self._check_declared(index, target)
        return self.stack([x for x, _ in pairs], numbers)

    def _check_declared(self, index: int, target: object) -> None:
        if self.declared is None:
            return
        attribute, values = self.declared
        if not np.array_equal(values[index], _value(target)):
            raise DataError(
                f"`{attribute}` of {self.where} must be the targets that the dataset gives; got "
                f"{values[index]!s} for {_value(target)!s} in example {index}. Correct or delete "
                f"`{attribute}`."
            )

    def fingerprint(self) -> str:
        """Return a hash of all examples; one pass over the dataset, then kept."""
        if not self._fingerprint:
            self._fingerprint = hashed_content(self)
        return self._fingerprint


def hashed_content(source: Source) -> str:
    """Return a hash of dtype, shape and all bytes of a source."""
    digest = hashlib.blake2b(f"{source.dtype}{source.shape}".encode(), digest_size=16)
    for start in range(0, len(source), 256):
        batch = source.gather(torch.arange(start, min(start + 256, len(source))))
        digest.update(batch.contiguous().numpy().data)
    return digest.hexdigest()


def fits(source: Source, in_memory: int) -> bool:
    """Return whether all of a source's examples take at most so many bytes."""
    return int(np.prod(source.shape)) * source.dtype.itemsize <= in_memory


def read_dataset(dataset: Any, reading: Reading, *, where: str) -> Examples:
    """Read a map-style dataset: by its tensors, into memory if it fits, else streamed."""
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
        raise DataError(f"{where} must be a map-style dataset; got {type(dataset).__name__}.")
    try:
        n = len(dataset)
    except (TypeError, NotImplementedError):
        raise DataError(f"{where} must have a length; {type(dataset).__name__} has none.") from None
    if n == 0:
        raise DataError(f"{where} must hold at least one example; got none.")
    if type(dataset) is TensorDataset:
        return _from_tensors(dataset, reading, where)
    source = DatasetSource(dataset, reading=reading, where=where)
    inputs: Tensor | Source = source
    targets: Any
    if fits(source, reading.in_memory):
        inputs, targets = _materialized(source)
    else:
        source.declared = _declared_targets(source)
        given = source.declared
        targets = given[1] if given else [source.pair(index)[1] for index in range(n)]
    names = getattr(dataset, "classes", None)
    return Examples(
        inputs=inputs,
        targets=target_array(_column(targets), where=where),
        class_names=tuple(map(str, names)) if isinstance(names, (list, tuple)) else None,
        where=where,
    )


def _from_tensors(dataset: TensorDataset, reading: Reading, where: str) -> Examples:
    if len(dataset.tensors) != 2:
        raise DataError(
            f"{where} must hold two tensors, inputs and targets; got {len(dataset.tensors)}."
        )
    x, y = dataset.tensors
    return Examples(
        inputs=stored_inputs(x, layout=reading.layout, where=where),
        targets=target_array(y, where=where),
        where=where,
    )


def _materialized(source: DatasetSource) -> tuple[Tensor, list[object]]:
    """Fetch all examples once, inputs and targets together."""
    inputs = torch.empty(source.shape, dtype=source.dtype)
    targets: list[object] = []
    for start in range(0, len(source), 256):
        indices = list(range(start, min(start + 256, len(source))))
        pairs = [source.pair(index) for index in indices]
        inputs[start : start + len(pairs)] = source.stack([x for x, _ in pairs], indices)
        targets.extend(y for _, y in pairs)
    return inputs, targets


def _declared_targets(source: DatasetSource) -> tuple[str, np.ndarray] | None:
    """Return `targets` or `labels`, and its name, if there is one an example and samples agree."""
    dataset, n = source.dataset, len(source)
    samples = np.unique(np.linspace(0, n - 1, _SAMPLES).astype(int)).tolist()
    for attribute in ("targets", "labels"):
        values = getattr(dataset, attribute, None)
        if values is None or not hasattr(values, "__len__") or len(values) != n:
            continue
        if all(np.array_equal(_value(values[i]), _value(source.pair(i)[1])) for i in samples):
            return attribute, _value(_column(values))
    return None


def _value(y: object) -> np.ndarray:
    return np.asarray(y.detach().cpu() if isinstance(y, Tensor) else y)


def _column(targets: Any) -> Any:
    """Return a list of labels as one array; arrays and tensors as they are."""
    return np.stack([_value(y) for y in targets]) if isinstance(targets, list) else targets


def _described(item: object) -> str:
    if isinstance(item, (tuple, list)):
        return f"a {type(item).__name__} of {len(item)}"
    return f"of type {type(item).__name__}"
