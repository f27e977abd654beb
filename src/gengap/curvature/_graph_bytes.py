"""How much memory a graph of derivatives holds."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor

_MISSING = ("torch::autograd::Error", "torch::autograd::NotImplemented", "NotImplemented")


def graph_bytes(ends: Iterable[Tensor], params: Iterable[Tensor]) -> int:
    """Return the bytes of the tensors saved in the graph behind `ends`, without the parameters.

    Walks the nodes and their saved tensors; a storage counts once. What a node of the user's own
    keeps aside, not by save_for_backward, is not seen.

    Raises:
        ValueError: A node stands for a derivative that there is none of. Autograd itself would
            pass it by where no path leads through it to the parameters.
    """
    ours = {p.untyped_storage().data_ptr() for p in params}
    held: dict[int, int] = {}
    nodes: list[Any] = [end.grad_fn for end in ends]
    seen = set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name() in _MISSING:
            raise ValueError(
                "`risk.model` and its loss must be twice differentiable; got an operation whose "
                "gradient has no derivative (once_differentiable). Take another one in its place."
            )
        nodes.extend(following for following, _ in node.next_functions)
        for value in _saved(node):
            storage = value.untyped_storage()
            if storage.data_ptr() not in ours:
                held[storage.data_ptr()] = storage.nbytes()
    return sum(held.values())


def _saved(node: Any) -> list[Tensor]:
    names = [name for name in dir(node) if name.startswith("_saved_") or name == "saved_tensors"]
    found: list[Tensor] = []
    for name in names:
        value = getattr(node, name)
        found += [v for v in (value if isinstance(value, tuple) else (value,)) if _is(v)]
    return found


def _is(value: object) -> bool:
    return isinstance(value, Tensor)
