"""What a meter hears in one backward pass, and how many examples that were."""

from typing import final

from torch import Tensor

from ._batch import Batch
from ._merge import merged
from ._part import Part
from ._tally import Tally


@final
class BackwardPass:
    """Counts the examples of one backward pass, and holds what it hears until its end.

    A pass that breaks off has no end: what it had heard so far is forgotten.

    An example is one of a call of the model. Two calls in one backward pass hold different
    examples where their numbers differ; parts of the model that are called one after the other
    hold the same.

    Attributes:
        tally: Sums and squared norms that are complete; after `finish`, all of them.
    """

    def __init__(self) -> None:
        self.tally = Tally()
        self._nobody = Batch()
        self._sizes: dict[Batch, int] = {}
        self._names: dict[Batch, set[str]] = {}
        self._joint: dict[tuple[Batch, str], list[Part]] = {}

    def add(self, batch: Batch | None, name: str, part: Part) -> Tensor:
        """Take a parameter's part, of a call of the model if it was seen; return its sum.

        Raises:
            ValueError: Another backward pass has gone through this call of the model.
        """
        batch = batch or self._nobody
        names = self._names.setdefault(batch, set())
        if name in batch.recorded:
            _refuse_two_passes(name)
        names.add(name)
        if batch.uses.get(name, 1) > 1:
            self._joint.setdefault((batch, name), []).append(part)
        else:
            self._add_norms(batch, name, part)
        total = part.sum()
        self.tally.add(name, total)
        return total

    def _add_norms(self, batch: Batch, name: str, part: Part) -> None:
        norms = part.squared_norms()
        self._sizes[batch] = len(norms)
        self.tally.add_squares(name, norms)

    def finish(self) -> Tally:
        """Return all that was heard: parameters used several times have their parts together.

        Raises:
            ValueError: A pass within this one has had another use of one of its parameters.
        """
        for batch, names in self._names.items():
            if batch is not self._nobody and not names.isdisjoint(batch.recorded):
                _refuse_two_passes(min(names & batch.recorded))
        for (batch, name), parts in self._joint.items():
            self._add_norms(batch, name, merged(parts))
        fresh = [batch for batch in self._most() if not batch.recorded]
        for batch, names in self._names.items():
            batch.recorded |= names
        self.tally.examples = sum(self._sizes[batch] for batch in fresh)
        return self.tally

    def _most(self) -> set[Batch]:
        """Return the calls that hold all examples."""
        if len(self._names) == 1:
            return set(self._names)
        calls: dict[str, set[Batch]] = {}
        for batch, names in self._names.items():
            for name in sorted(names):
                calls.setdefault(name, set()).add(batch)
        for name, batches in calls.items():
            self._check_apart(name, [self._sizes[batch] for batch in batches])
        most = max(calls.values(), key=self._total)
        for batches in calls.values():
            if not batches <= most and self._total(batches) != self._total(most):
                raise ValueError(
                    "The parts of `model` that are called from outside must be given the same "
                    f"examples; got {self._total(batches)} and {self._total(most)} in one backward "
                    "pass. Say how many there are by `expect`."
                )
        return most

    def _total(self, batches: set[Batch]) -> int:
        return sum(self._sizes[batch] for batch in batches)

    @staticmethod
    def _check_apart(name: str, sizes: list[int]) -> None:
        twice = next((size for size in sizes if sizes.count(size) > 1), None)
        if twice is not None:
            raise ValueError(
                "`model` must be called once a backward pass, or with different numbers of "
                f"examples; got two calls with {twice} each that use {name!r}, which may be the "
                "same ones or not. Call `backward` after each, or the model once on all."
            )


def _refuse_two_passes(name: str) -> None:
    raise ValueError(
        "The loss of a batch must be differentiated once; got a second backward pass, or a "
        f"reentrant checkpoint, that reaches {name!r} by the same call of the model. Add the "
        "losses up first, or take checkpoints with use_reentrant=False."
    )
