"""Where a split's stored examples come from when they are not one tensor in memory."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Source(ABC):
    """Stored examples that are fetched by index: files, a data set, a view of another source.

    Attributes:
        shape: Shape of all stored examples, (n, ...).
        dtype: Their dtype.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype

    @abstractmethod
    def gather(self, indices: Tensor) -> Tensor:
        """Return the stored examples at `indices` (int64, on the CPU): [b, ...], on the CPU."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a hash of the content, the same in every process."""

    def __len__(self) -> int:
        return self.shape[0]
