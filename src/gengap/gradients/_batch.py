"""One call of the model from outside."""

from collections import Counter
from dataclasses import dataclass, field
from typing import final

import torch


@final
@dataclass(eq=False)
class Batch:
    """One call of the model from outside.

    Attributes:
        examples: Number of examples b in it, where it is known.
        uses: Parameter name to how often a layer has used it.
        rows: Length of the first axis that reaches the layers, where b is not known.
        recorded: Parameters whose gradient a finished backward pass has had of it.
        without_graph: Parameter name to how often a layer has used it without a graph, as within a
            reentrant checkpoint, which uses it anew in the backward pass.
        common: Whether a value that is the same for all examples has met them.
        given: Name of a layer to what it was given while common values were followed: "examples",
            "common", or "common without a graph", as within a reentrant checkpoint.
    """

    examples: int | None = None
    uses: dict[str, int] = field(default_factory=dict)
    rows: int | None = None
    recorded: set[str] = field(default_factory=set)
    without_graph: Counter[str] = field(default_factory=Counter)
    common: bool = False
    given: dict[str, set[str]] = field(default_factory=dict)

    def enter(self, names: tuple[str, ...]) -> None:
        """Count a use of parameters, unless it is the same once more, for the backward pass."""
        if not torch.is_grad_enabled():
            self.without_graph.update(names)
            return
        again = in_backward()
        for name in names:
            if self.without_graph[name] and again:
                self.without_graph[name] -= 1
            elif again and name in self.uses:
                continue
            self.uses[name] = self.uses.get(name, 0) + 1


def in_backward() -> bool:
    """Whether a backward pass is running: what is called now is a recomputation."""
    return torch._C._current_graph_task_id() != -1
