"""What corruptions of pixels share: where they act, and on what kind of split."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, final

import torch
from torch import Tensor

from gengap.data import Preprocessing, Source, Split

When = Literal["before", "after"]
PixelChange = Callable[[Tensor, Tensor], Tensor]
"""A change of examples [b, ...] that have the given indices [b] in their split."""

_CHUNK = 1024


@final
@dataclass(frozen=True, kw_only=True)
class Stage:
    """Where on the way from storage to network pixels are changed: crop first, always.

    Attributes:
        preprocessing: That of the split.
        when: "before" or "after" standardization.
        scaled: Whether the change needs the scaled pixels, as floats, rather than stored ones.
    """

    preprocessing: Preprocessing
    when: When
    scaled: bool

    def reached(self, raw: Tensor) -> Tensor:
        """Bring stored examples [b, ...] to the point of change."""
        if self.when == "after":
            return self.preprocessing(raw)
        if self.scaled:
            return replace(self.preprocessing, standardize=None, mean=(), std=())(raw)
        return self.preprocessing.cropped(raw)

    @property
    def rest(self) -> Preprocessing:
        """What is left to do after the change."""
        if self.when == "after":
            return Preprocessing()
        scale = 1.0 if self.scaled else self.preprocessing.scale
        return replace(self.preprocessing, crop=None, scale=scale)

    def chunks(self, split: Split) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield indices and examples at the point of change, always in the same portions."""
        for start in range(0, len(split), _CHUNK):
            indices = torch.arange(start, min(start + _CHUNK, len(split)))
            yield indices, self.reached(split.gather(indices))


@final
class ChangedSource(Source):
    """Another source's examples, changed when they are fetched."""

    def __init__(self, source: Source, stage: Stage, change: PixelChange, *, identity: str) -> None:
        self.source, self.stage, self.change, self.identity = source, stage, change, identity
        first = self.gather(torch.arange(1))
        self.shape = (source.shape[0], *first.shape[1:])
        self.dtype = first.dtype

    def gather(self, indices: Tensor) -> Tensor:
        """Return the changed examples at `indices`."""
        indices = torch.arange(len(self.source))[indices]
        return self.change(self.stage.reached(self.source.gather(indices)), indices)

    def fingerprint(self) -> str:
        """Return a hash of the source's content and of the change."""
        text = f"{self.source.fingerprint()} {self.stage!r} {self.identity}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def check_not_tokens(split: Split) -> None:
    """Require examples that can be noise.

    Raises:
        ValueError: They are tokens.
    """
    if split.tokens:
        raise ValueError(f"Noise needs pixels or features; `{split.name}` holds tokens.")


def with_pixels(
    split: Split, change: PixelChange, *, stage: Stage, identity: str, changed: bool = True
) -> Split:
    """Return the split with its pixels changed: at once in memory, on fetching in a Source.

    Args:
        split: Examples [n, ...].
        change: What to do with them; its result for an example depends on that example's stored
            value and index only.
        stage: Where to do it.
        identity: All that determines `change`, for the fingerprint of a streamed split.
        changed: Whether the examples count as changed.
    """
    inputs: Tensor | Source
    if isinstance(split.inputs, Tensor):
        inputs = _changed_in_memory(split, change, stage)
    else:
        inputs = ChangedSource(split.inputs, stage, change, identity=identity)
    mask = split.changed | changed
    return replace(split, inputs=inputs, preprocessing=stage.rest, changed=mask)


def _changed_in_memory(split: Split, change: PixelChange, stage: Stage) -> Tensor:
    result: Tensor | None = None
    for indices, examples in stage.chunks(split):
        new = change(examples, indices)
        if result is None:
            result = new.new_empty(len(split), *new.shape[1:])
        result[indices[0] : indices[-1] + 1] = new
    assert result is not None  # a split holds at least one example
    return result


def num_channels(example_shape: tuple[int, ...]) -> int:
    """Return the channels of an image; examples of fewer than three axes have none, so 1."""
    return example_shape[0] if len(example_shape) >= 3 else 1
