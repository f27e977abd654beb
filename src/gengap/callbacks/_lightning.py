"""Coherence in the logs of a Lightning trainer."""

from typing import Any

import lightning.pytorch as pl
from torch import Tensor
from torch.optim import Optimizer

from gengap._checks import check_count
from gengap.gradients import CoherenceMeter

from ._schedule import is_read


class LightningCoherence(pl.Callback):
    """Logs the m-coherence of training batches as `m_coherence`.

    Give it to the trainer: `Trainer(callbacks=[LightningCoherence()])`. Batches are measured as
    they are trained on, so dropout is on; BatchNorm layers must be in evaluation mode. Under
    DistributedDataParallel the batches of all processes count as one.

    Cost: see `gengap.CoherenceMeter`; the meter is on at the steps that are read.

    Args:
        every: Steps between two readings, after the first 25, which are all read.
        layers: Also log each layer, as `m_coherence/<name>`; the module's own as `.../model`.
    """

    def __init__(self, *, every: int = 10, layers: bool = False) -> None:
        """Set how often to read."""
        self.every, self.layers = check_count("every", every), layers
        self._meter: CoherenceMeter | None = None

    def on_train_batch_start(
        self, trainer: "pl.Trainer", pl_module: "pl.LightningModule", batch: Any, batch_idx: int
    ) -> None:
        """Put the meter on, if this step is read."""
        if is_read(trainer.global_step + 1, self.every):
            if self._meter is None:
                self._meter = CoherenceMeter(pl_module)
            self._meter.expect(_examples(batch))

    def on_before_optimizer_step(
        self, trainer: "pl.Trainer", pl_module: "pl.LightningModule", optimizer: Optimizer
    ) -> None:
        """Read the meter once the gradients of a step are complete."""
        if self._meter is None:
            return
        reading = self._meter.read()
        self._close()
        pl_module.log("m_coherence", reading.m_coherence)
        if self.layers:
            for name, value in reading.per_layer.items():
                pl_module.log(f"m_coherence/{'model' if name == '.' else name}", value)

    def on_exception(
        self, trainer: "pl.Trainer", pl_module: "pl.LightningModule", exception: BaseException
    ) -> None:
        """Take the meter off."""
        self._close()

    def on_train_end(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        """Take the meter off."""
        self._close()

    def _close(self) -> None:
        if self._meter is not None:
            self._meter.close()
            self._meter = None


def _examples(batch: Any) -> int | None:
    """Return the length of the first tensor found in a batch."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.ndim else None
    parts = batch.values() if isinstance(batch, dict) else batch
    if not isinstance(batch, dict | list | tuple):
        return None
    found = (_examples(part) for part in parts)
    return next((n for n in found if n is not None), None)
