"""Who is told what passes between the layers and autograd."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor

from ._batch import Batch
from ._part import Part


class Recorder(ABC):
    """Who is told what passes between the layers and autograd.

    Attributes:
        examples: Number of examples b of the batch in the model now; None takes the length of
            the first axis of whatever reaches a layer. Set it where the model may fold other
            axes into the first (frames, tokens): such rows are then counted to their example.
        replaying: Whether a module is called again in the backward pass, example by example:
            such a call is no new batch.
        keeps_sparse: Whether a table made with `sparse=True` is to get a sparse gradient.
        takes_tokens: Whether a parameter that a module expands to the batch is told apart: row i
            is taken for example i, as nothing but its place shows it.
        batch: The call of the model that runs now.
        recorded: The call of the model whose parts `record` is given.
    """

    examples: int | None = None
    replaying = False
    keeps_sparse = False
    takes_tokens = False
    batch: Batch | None = None
    recorded: Batch | None = None

    @abstractmethod
    def record(self, parts: Mapping[str, Part]) -> Mapping[str, Tensor | None]:
        """Take the per-example gradients of one use of one layer, in the backward pass.

        Args:
            parts: Parameter name, as in `model.named_parameters()`, to its `Part`: the
                gradients of all examples in factored form, with respect to whatever scalar is
                being differentiated. `part.squared_norms()` is [b], `part.sum()` the ordinary
                gradient, `part.dense()` the materialized gradients [b, *shape].

        Returns:
            What autograd takes as the gradient of each parameter: `part.sum()` for `.grad` as
            usual, any other aggregate [*shape], or None (or no entry) for nothing at all.
        """

    def used(self, names: tuple[str, ...]) -> None:
        """Hear, in the forward pass, that these parameters are used once more."""
        del names

    def left(self, names: tuple[str, ...]) -> None:
        """Hear that a use of these parameters is autograd's: its gradient is not recorded."""
        del names

    def asks_for_all(self) -> bool:
        """Whether the backward pass that runs now is known to ask for all parameters.

        If not, autograd is asked about each: `torch.autograd.grad` may differentiate by inputs.
        """
        return False

    def given(self, name: str, gradient: Tensor) -> None:
        """Hear what autograd is given as the gradient of a parameter."""
        del name, gradient

    def refused(self, module: str, why: str) -> None:
        """Hear that a use cannot be told apart by example.

        Raises:
            ValueError: Always; a recorder that does not raise leaves the parameters' plain
                gradient to autograd.
        """
        raise ValueError(
            f"`model` must keep the examples apart in every layer; got {module or '.'!r}, where "
            f"{why}."
        )
