"""Coherence in the logs of the Transformers trainer."""

from typing import Any
from weakref import WeakKeyDictionary, ref

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gengap._checks import check_count
from gengap.gradients import CoherenceMeter, Reading

from ._schedule import is_read

# The meter that a callback put on a model last.
_ON: WeakKeyDictionary[nn.Module, ref[CoherenceMeter]] = WeakKeyDictionary()


class TransformersCoherence(TrainerCallback):
    """Adds the m-coherence of training batches to the logs as `m_coherence`.

    Give it to the trainer: `Trainer(..., callbacks=[TransformersCoherence()])`. Batches are
    measured as they are trained on, so dropout is on. An example is a row of the batch: a
    sequence. The value in the logs is the latest reading before they are written.

    The trainer tells callbacks of no exception: a step that breaks off leaves the meter on the
    model until the next training with such a callback, an old or a new one, or `close`.

    Cost: see `gengap.CoherenceMeter`; the meter is on at the steps that are read.

    Attributes:
        readings: Every reading, as (step, Reading).

    Args:
        every: Steps between two readings, after the first 25, which are all read.
    """

    def __init__(self, *, every: int = 10) -> None:
        """Set how often to read."""
        self.every = check_count("every", every)
        self.readings: list[tuple[int, Reading]] = []
        self._meter: CoherenceMeter | None = None

    def close(self) -> None:
        """Take the meter off the model; needed only where a training has broken off."""
        if self._meter is not None:
            self._meter.close()
            self._meter = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        """Take off the meter of a training that has broken off."""
        self.close()
        left = _ON.pop(model)() if model is not None and model in _ON else None
        if left is not None:
            left.close()

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        """Put the meter on, if this step is read."""
        if model is not None and self._meter is None and is_read(state.global_step + 1, self.every):
            self._meter = CoherenceMeter(model)
            _ON[model] = ref(self._meter)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Read the meter once the gradients of a step are complete."""
        if self._meter is not None:
            self.readings.append((state.global_step + 1, self._meter.read()))
            self.close()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the latest reading to what is logged."""
        if self.readings and logs is not None and "loss" in logs:
            logs["m_coherence"] = self.readings[-1][1].m_coherence
            if state.log_history:
                state.log_history[-1]["m_coherence"] = logs["m_coherence"]

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take the meter off."""
        self.close()
