"""The recorder that keeps squared norms by example and the sum of gradients."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import final

import torch
from torch import Tensor

from ._merge import merged
from ._part import Part
from ._use import Recorder


class UsedAgain(Exception):
    """A parameter whose use was taken for its only one was used again."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class OnePart(Recorder):
    """Waits until a parameter's gradient is complete: one part, however often it was used."""

    def __init__(self, *, left_out: Collection[str] = (), several: Collection[str] = ()) -> None:
        """Say which parameters are another's business, and which are used several times."""
        self.left_out, self.several = frozenset(left_out), frozenset(several)
        self._uses: Counter[str] = Counter()
        self._waiting: dict[str, list[Part]] = {}
        self._done: set[str] = set()

    def start(self, examples: int) -> None:
        """Make ready for a batch."""
        self.examples = examples
        self._uses.clear()
        self._waiting.clear()
        self._done.clear()

    def used(self, names: tuple[str, ...]) -> None:
        """Count uses."""
        self._uses.update(names)

    def refused(self, module: str, why: str) -> None:
        """Let autograd have it, which the engine sees."""

    def record(self, parts: Mapping[str, Part]) -> Mapping[str, Tensor | None]:
        """Pass on what is complete, and keep what is not."""
        for name, part in parts.items():
            if name in self.left_out:
                continue
            if name in self._done:
                raise UsedAgain(name)
            if self._uses[name] > 1 or name in self.several:
                self._waiting.setdefault(name, []).append(part)
            else:
                self._done.add(name)
                self.take(name, part)
        return {}

    def finish(self) -> None:
        """Pass on the parameters used several times."""
        for name, parts in self._waiting.items():
            self.take(name, merged(parts))
        self._waiting.clear()

    def end_of_batch(self) -> None:
        """Hear that one of the risk's batches is done."""

    def take(self, name: str, part: Part) -> None:
        """Take the gradients of all examples of the batch by one parameter."""
        raise NotImplementedError


@final
class SumsAndNorms(OnePart):
    """Keeps squared norms, and adds up the gradients.

    Attributes:
        norms: Name to the squared norms of every example's gradient so far, a tensor a batch.
        sums: Name to the sum of the gradients since `fold`, in the model's dtype.
        totals: Name to the sum before that, float64.
    """

    def __init__(
        self,
        params: Mapping[str, Tensor],
        *,
        left_out: Collection[str] = (),
        several: Collection[str] = (),
    ) -> None:
        """Start from nothing."""
        super().__init__(left_out=left_out, several=several)
        self.params = params
        self.norms: dict[str, list[Tensor]] = {name: [] for name in params}
        self.sums: dict[str, Tensor] = {}
        self.totals: dict[str, Tensor] = {}
        self._ended = 0

    def take(self, name: str, part: Part) -> None:
        """Keep the norms, add the sum."""
        self.norms[name].append(part.squared_norms())
        if name in self.sums:
            part.add_sum_to(self.sums[name])
        else:
            wide = torch.promote_types(self.params[name].dtype, torch.float32)
            self.sums[name] = part.sum().to(wide)

    def end_of_batch(self) -> None:
        """Start the sums of the next batch, and add those of the last to the totals."""
        self._ended += 1
        if self._ended > 1:
            self.fold()

    def fold(self) -> None:
        """Add what has been summed to float64 totals."""
        for name, value in self.sums.items():
            if name in self.totals:
                self.totals[name] += value
            else:
                self.totals[name] = value.double()
        self.sums.clear()

    def gathered(self) -> dict[str, Tensor]:
        """Return the sums: float64, or as computed where one batch was all."""
        if self.totals:
            self.fold()
        return self.totals or self.sums
