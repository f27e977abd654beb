"""What a meter hears in one backward pass, and how many examples that were."""

from typing import final

from torch import Tensor

from ._merge import merged
from ._part import Part
from ._use import Batch


@final
class BackwardPass:
    """Counts the examples of one backward pass, and holds what is not complete before its end.

    An example is one of a call of the model. Two calls in one backward pass hold different
    examples where their numbers differ; parts of the model that are called one after the other
    hold the same.

    Attributes:
        nobody: Stands for a call of the model that was not seen.
    """

    def __init__(self) -> None:
        self.nobody = Batch()
        self._sizes: dict[Batch, int] = {}
        self._names: dict[Batch, set[str]] = {}
        self._joint: dict[tuple[Batch, str], list[Part]] = {}

    def norms(self, batch: Batch, name: str, part: Part) -> Tensor | None:
        """Take a part; return its squared norms [b], or None where others come on top.

        Raises:
            ValueError: An earlier backward pass has gone through this call of the model.
        """
        names = self._names.setdefault(batch, set())
        if name in batch.recorded:
            raise ValueError(
                "The loss of a batch must be differentiated once; got a second backward pass that "
                f"reaches {name!r} by the same call of the model. Add the losses up first."
            )
        names.add(name)
        if batch.uses.get(name, 1) > 1:
            self._joint.setdefault((batch, name), []).append(part)
            return None
        norms = part.squared_norms()
        self._sizes[batch] = len(norms)
        return norms

    def finish(self) -> tuple[dict[str, list[Tensor]], int]:
        """Return squared norms [b] of the parameters used several times, and count examples.

        Returns:
            Norms by name, one tensor a call; the number of examples not counted before.
        """
        found: dict[str, list[Tensor]] = {}
        for (batch, name), parts in self._joint.items():
            norms = merged(parts).squared_norms()
            self._sizes[batch] = len(norms)
            found.setdefault(name, []).append(norms)
        fresh = [batch for batch in self._most() if not batch.recorded]
        for batch, names in self._names.items():
            batch.recorded |= names
        return found, sum(self._sizes[batch] for batch in fresh)

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
