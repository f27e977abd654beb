"""Some examples of another source, in a chosen order."""

import hashlib
from typing import final

from torch import Tensor

from ._source import Source


@final
class SubsetSource(Source):
    """Some examples of another source, in a chosen order."""

    def __init__(self, source: Source, indices: Tensor) -> None:
        self.source = source
        self.indices = indices.cpu()
        self.shape = (len(indices), *source.shape[1:])
        self.dtype = source.dtype

    def gather(self, indices: Tensor) -> Tensor:
        """Return the stored examples at `indices` of this subset."""
        return self.source.gather(self.indices[indices])

    def fingerprint(self) -> str:
        """Return a hash of the source's content and of the choice."""
        digest = hashlib.blake2b(self.source.fingerprint().encode(), digest_size=16)
        digest.update(self.indices.numpy().tobytes())
        return digest.hexdigest()
