"""One call of a module that is differentiated in one piece."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ._batch import Batch
from ._packed import Packing
from ._part import Part
from ._rule import Axes, Layout
from ._shared_memory import version
from ._use import Session

Turn = Callable[[Tensor], Tensor]
Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Deltas = list[Tensor | None]
Differentiated = tuple[list[Tensor | None], dict[str, Part]]


class CannotTellApart(Exception):
    """A module's backward pass cannot be split by example."""


@final
@dataclass(eq=False, kw_only=True)
class LocalCall:
    """A module's forward, called once.

    Attributes:
        session: The interception.
        name: The module's name.
        module: The module.
        original: Its own forward.
        structure: Of the arguments, tensors replaced by their place.
        places: Which leaves of the structure are tensors.
        params: Trainable parameters of the module and its children, by their names inside it.
        layout: Where the examples are in the first tensor.
        batch: The call of the model it was part of.
        buffers: The module's buffers as they were before the call.
        as_given: What makes, of tensors that are taken in another form, what the module is given.
        packing: How the first tensor, which is padded, was packed; None where it was not.
        ways: Where the examples can be in the tensors it was given, the likeliest first.
        outputs: What it returned: leaves, without the tensors, and their structure.
        shown: `rows_of` of each tensor it returned.
        used: Those of its parameters that each of these depends on.
        shared: Which of the tensors that it returned lay in the memory of another one.
        written: These, and how often somebody had written to them when they were returned.
        autocast: Whether autocast was on, and to which dtype.
    """

    session: Session
    name: str
    module: nn.Module
    original: Callable[..., Any]
    leaves: list[Any]
    structure: Any
    places: list[int]
    params: dict[str, Tensor]
    layout: Layout
    batch: Batch | None
    buffers: dict[str, Tensor]
    as_given: dict[int, Turn] = field(default_factory=dict)
    packing: Packing | None = None
    ways: list[Axes] = field(default_factory=list)
    outputs: Any = None
    shown: list[Tensor | None] = field(default_factory=list)
    used: list[frozenset[str]] = field(default_factory=list)
    shared: list[int] = field(default_factory=list)
    written: list[tuple[Tensor, int]] = field(default_factory=list)
    autocast: tuple[bool, torch.dtype] = field(default=(False, torch.float32))

    def arguments(self, tensors: Sequence[Any]) -> Arguments:
        """Return positional and named arguments with these tensors in them."""
        leaves = list(self.leaves)
        for i, (place, tensor) in enumerate(zip(self.places, tensors, strict=True)):
            turn = self.as_given.get(i) if isinstance(tensor, Tensor) else None
            leaves[place] = tensor if turn is None else turn(tensor)
        found: Arguments = pytree.tree_unflatten(leaves, self.structure)
        return found

    def rows_of(self, values: Tensor) -> Tensor | None:
        """Return the first rows of the examples that are compared; None without any."""
        axis, layout = self.layout.axis, self.layout
        if not values.numel() or not values.is_floating_point() or not layout.fits(values):
            return None
        rows = layout.rows(values)
        plain = layout.examples is None or values.shape[axis] == layout.examples
        return self.compared(rows if plain else rows[:, 0])

    def compared(self, rows: Tensor) -> Tensor:
        """Return copies of the rows to compare: all, where inputs can be read in two ways."""
        if len(self.ways) > 1:
            return rows.clone()
        return torch.stack([rows[0], rows[len(rows) // 2], rows[-1]])

    def check_again(self, place: int, rows: Tensor | None) -> None:
        """Require that calling the module once more, example by example, has given the same rows.

        Raises:
            CannotTellApart: It has not: what it does goes with a state that nobody sees, or with
                the examples' places.
        """
        shown = self.shown[place]
        if shown is None or rows is None:
            return
        eps = torch.finfo(shown.dtype).eps
        share = max(min(_SAME, eps**0.5), 16 * eps)
        apart = (rows.detach().to(shown.dtype) - shown).abs().max()
        if bool(apart > share * shown.abs().max()):
            raise CannotTellApart("calling it again, example by example, gives another output")

    def check_unwritten(self) -> None:
        """Require that nobody has written to an output in whose memory another one should lie.

        Raises:
            ValueError: Somebody has: the other one, which is a copy, did not change with it.
        """
        if any(version(tensor) != before for tensor, before in self.written):
            raise ValueError(
                "What a module returns twice, or returns as it was given, must not be changed in "
                f"place; got such a change of what {self.name or '.'!r} returned. Return a clone."
            )

    def flat_outputs(self, outputs: Any) -> list[Tensor]:
        """Return the tensors of what the module returned."""
        return [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)]


def plain_gradients(
    call: LocalCall,
    inputs: list[Tensor],
    deltas: Deltas,
    forward: Callable[..., Any],
    params: list[Tensor],
) -> tuple[list[Tensor | None], list[Tensor | None]]:
    """Return the plain gradients of inputs and parameters, by a forward that uses these."""
    with torch.enable_grad():
        leaves = [t.detach().requires_grad_() if t.is_floating_point() else t for t in inputs]
        arguments, options = call.arguments(leaves)
        outputs = call.flat_outputs(forward(*arguments, **options))
    pairs = [(o, d) for o, d in zip(outputs, deltas, strict=True) if d is not None]
    wanted = [t for t in leaves if t.requires_grad]
    grads = torch.autograd.grad(
        [o for o, _ in pairs],
        [*wanted, *params],
        [d for _, d in pairs],
        allow_unused=True,
    )
    found = iter(grads[: len(wanted)])
    return [next(found) if t.requires_grad else None for t in leaves], list(grads[len(wanted) :])


_SAME = 1e-4
"""Share of the largest output by which a second call may differ, for another order of sums; in
float64 it is less."""
