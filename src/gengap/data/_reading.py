"""What a caller may say about examples from outside, and what was read of them."""

from dataclasses import dataclass
from typing import Literal, final, get_args

import numpy as np
from torch import Tensor

from gengap._checks import check_choice, check_sides, keep_counts

from ._preprocessing import Preprocessing
from ._source import Source

Layout = Literal["auto", "channels_first", "channels_last", "tokens"]
DEFAULT_IN_MEMORY = 2**30


@final
@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a caller says about examples from outside; see `as_split`."""

    num_classes: int | None = None
    class_names: tuple[str, ...] | None = None
    regression: bool = False
    preprocessing: Preprocessing | None = None
    standardize: Literal["image", "dataset"] | None = None
    layout: Layout = "auto"
    size: int | tuple[int, int] | None = None
    in_memory: int = DEFAULT_IN_MEMORY

    def __post_init__(self) -> None:
        check_choice("layout", self.layout, get_args(Layout))
        check_choice("standardize", self.standardize, (None, "image", "dataset"))
        if self.layout == "tokens" and self.standardize is not None:
            raise ValueError(
                f"`standardize` must be left out for tokens; got {self.standardize!r}."
            )
        keep_counts(self, "in_memory", least=0)
        keep_counts(self, "num_classes", least=2, optional=True)
        object.__setattr__(self, "size", check_sides("size", self.size))
        if self.preprocessing is not None and self.standardize is not None:
            raise ValueError(
                "`standardize` must be left out where `preprocessing` is given; got "
                f"{self.standardize!r}. Say it in the preprocessing."
            )
        names, count = self.class_names, self.num_classes
        if names is not None and count is not None and len(names) != count:
            raise ValueError(
                f"`class_names` must name every class; got {len(names)} names for {count} classes."
            )

    @property
    def size_pair(self) -> tuple[int, int] | None:
        """Height and width that images are brought to, or None."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size


@final
@dataclass(frozen=True, kw_only=True)
class Examples:
    """Examples as read: stored inputs, checked; targets as they came.

    Attributes:
        inputs: [n, ...], images as (channels, height, width).
        targets: Labels of any kind, or real values, n of them.
        class_names: Names of the classes, where the source gives them.
        files: Where the examples lie, relative to their folder, where they are files.
        where: What to call it in errors.
    """

    inputs: Tensor | Source
    targets: np.ndarray
    class_names: tuple[str, ...] | None = None
    files: np.ndarray | None = None
    where: str
