"""What modules keep in attributes of their own, while they are called for ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def attributes_kept(module: nn.Module) -> Iterator[None]:
    """Leave what a module and its children keep in attributes as it is when the block ends.

    A module may store what it computes: an auxiliary loss, weights of attention, a log. Lists,
    dicts and sets that it changes have their old content again. Parameters and buffers are not
    looked at.
    """
    held = [(vars(part), dict(vars(part))) for part in module.modules()]
    contents = [
        (value, value.copy())
        for _, before in held
        for name, value in before.items()
        if type(value) in (list, dict, set) and name not in _PYTORCHS
    ]
    try:
        yield
    finally:
        for now, before in held:
            for name in [name for name in now if name not in before]:
                del now[name]
            now.update(before)
        for value, content in contents:
            _refill(value, content)


_PYTORCHS = frozenset(vars(nn.Module()))


def _refill(value: Any, content: Any) -> None:
    if isinstance(value, list):
        value[:] = content
    else:
        value.clear()
        value.update(content)
