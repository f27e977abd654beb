"""Whether a meter sees everything that autograd gives the parameters."""

from collections.abc import Mapping
from functools import partial
from typing import final

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

_MOST = 1e-2


@final
class MeterCheck:
    """Adds up what autograd gives every parameter, to be compared with what was recorded."""

    def __init__(self, model: nn.Module, *, recorded: Mapping[str, Tensor] | None = None) -> None:
        """Listen to the parameters of a model, of which some sums may be recorded already."""
        self._before = {name: total.clone() for name, total in (recorded or {}).items()}
        self._given: dict[str, Tensor] = {}
        self._running: dict[int, list[tuple[str, Tensor]]] = {}
        self._handles: dict[Tensor, RemovableHandle] = {}
        try:
            self.listen(model)
        except BaseException:
            self.stop()
            raise

    def listen(self, model: nn.Module) -> None:
        """Listen to the parameters that are new."""
        for name, p in model.named_parameters():
            if p.requires_grad and p not in self._handles:
                self._handles[p] = p.register_hook(self._listener(name))

    def _listener(self, name: str):  # type: ignore[no-untyped-def] # noqa: ANN202
        def listen(gradient: Tensor | None) -> None:
            if gradient is None:  # of a parameter that its module has not used
                return
            task = torch._C._current_graph_task_id()
            if task not in self._running:
                self._running[task] = []
                torch.autograd.Variable._execution_engine.queue_callback(partial(self._end, task))
            self._running[task].append((name, gradient.detach().clone()))

        return listen

    def _end(self, task: int) -> None:
        """Add up what a backward pass gave; one that breaks off gave nothing."""
        for name, gradient in self._running.pop(task, []):
            held = self._given.get(name)
            self._given[name] = gradient if held is None else held + gradient

    def forget(self) -> None:
        """Begin anew."""
        self._before.clear()
        self._given.clear()
        self._running.clear()

    def stop(self) -> None:
        """Stop listening."""
        for handle in self._handles.values():
            handle.remove()

    def finish(self, recorded: Mapping[str, Tensor]) -> None:
        """Compare, and stop listening.

        Raises:
            ValueError: A parameter got a gradient that was not recorded.
        """
        self.stop()
        for name, given in self._given.items():
            seen = recorded.get(name)
            wide = given.to_dense().to(torch.promote_types(given.dtype, torch.float32))
            missing = wide if seen is None else wide - seen
            if name in self._before:
                missing = missing + self._before[name]
            share = min(_MOST, 8 * torch.finfo(given.dtype).eps ** 0.5)
            if float(missing.norm()) > share * float(wide.norm()):
                raise ValueError(
                    f"`model` must use its parameter {name!r} in the layer that owns it, so that "
                    "its gradient can be told apart by example, but part of that gradient came "
                    "another way, as from a use outside the layer or from a gradient penalty. "
                    "Measure a gengap.Risk with gengap.coherence instead."
                )
