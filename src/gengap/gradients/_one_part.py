"""A recorder that hears of each parameter once a batch."""

from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor

from ._merge import merged
from ._part import Part
from ._plan import Plan
from ._recorder import Recorder


class UsedAgain(Exception):
    """A parameter whose use was taken for its only one was used again."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class UsedAtLast(Exception):
    """A parameter that the first examples did not use: nobody has looked where its rows lie."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class OnePart(Recorder):
    """Waits until a parameter's gradient is complete: one part, however often it was used."""

    def __init__(self, plan: Plan) -> None:
        """Leave out what comes from the model as a whole; know what is used several times."""
        self.left_out, self.several = frozenset(plan.whole), frozenset(plan.several)
        self._seen = plan.seen
        self._uses: Counter[str] = Counter()
        self._waiting: dict[str, list[Part]] = {}
        self._done: set[str] = set()
        self._pass = -1

    def start(self, examples: int) -> None:
        """Make ready for a batch."""
        self.examples = examples
        self._uses.clear()
        self._waiting.clear()
        self._done.clear()

    def differentiates(self, total: Tensor) -> None:
        """Hear of what the batch's backward pass starts from; it asks for all parameters.

        Another pass, of a model that differentiates within, may not, and what it does not ask
        for is no part. To ask autograd of each parameter takes 20 microseconds.
        """

        def begins(grad: Tensor) -> None:
            self._pass = torch._C._current_graph_task_id()

        total.register_hook(begins)

    def asks_for_all(self) -> bool:
        """Whether the pass that runs now is the batch's."""
        return torch._C._current_graph_task_id() == self._pass

    def used(self, names: tuple[str, ...]) -> None:
        """Count uses."""
        if self._seen is not None:
            for name in names:
                if name not in self._seen and name not in self.left_out:
                    raise UsedAtLast(name)
        self._uses.update(names)

    def refused(self, module: str, why: str) -> None:
        """Let autograd have it, which the engine sees."""

    def record(self, parts: Mapping[str, Part]) -> Mapping[str, Tensor | None]:
        """Pass on what is complete, and keep what is not; another pass gets its sums."""
        if not self.asks_for_all():
            return {name: part.sum() for name, part in parts.items()}
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
