"""Which module has a parameter."""

from collections.abc import Iterable

ROOT = "."
"""The model itself, where it has parameters of its own."""


def by_layer(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the names of parameters, by the name of the module that has them."""
    layers: dict[str, list[str]] = {}
    for name in names:
        layers.setdefault(name.rpartition(".")[0] or ROOT, []).append(name)
    return layers
