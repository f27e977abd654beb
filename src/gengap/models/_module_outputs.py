"""What named modules of a network give during its forward passes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def module_outputs(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Keep what the named modules give while the context is open.

    Args:
        model: Any network; left as it was.
        names: Names as in `model.named_modules()`.

    Yields:
        The outputs by name, those of the last call; a module that has not run is not there.

    Raises:
        ValueError: A name is not that of a module of the network.
    """
    modules = dict(model.named_modules())
    for name in names:
        if not name or name not in modules:
            raise ValueError(
                "`layers` must be names of modules of the network, one of "
                f"{', '.join(filter(None, modules))}; got {name!r}."
            )
    outputs: dict[str, Tensor] = {}

    def keep(name: str, output: object) -> None:
        if isinstance(output, Tensor):
            outputs[name] = output

    handles = [
        modules[name].register_forward_hook(lambda _, __, output, name=name: keep(name, output))
        for name in names
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
