"""What becomes of the training examples in other people's trainers, epoch by epoch."""

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler

from gengap.data import Split
from gengap.training import ExampleProbe, Probed

from ._fingerprint import fingerprint

if TYPE_CHECKING:
    import pandas as pd

_BATCH = 64  # examples at once, where the training loader does not say
Predict = Callable[[Any, Any], tuple[Tensor, Tensor]]


class Follower:
    """Looks at every training example at the end of epochs, in evaluation mode.

    The examples are taken in the order of their data set, by a loader of its own, which draws
    nothing from the global generators.

    Attributes:
        logged: The shares to log after the last look.
    """

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        """Begin with nothing seen, or with what the `state` of another holds."""
        self._probe = _probe_from(state, "cpu") if state else None
        self._labels = state["labels"] if state else torch.empty(0, dtype=torch.int64)
        self._epoch = state["epoch"] if state else 0
        self._restored = bool(state)
        self._dataset = state.get("dataset", "") if state else ""
        self.logged: dict[str, float] = {}

    @classmethod
    def begun(cls, done: float, every: int, stored: Mapping[str, Any]) -> tuple[Self, bool]:
        """Begin a training, or go on with one that has been interrupted.

        Args:
            done: Epochs of it that are done; a part of one counts as its share.
            every: Epochs between two looks.
            stored: The `state` of the training that goes on, empty if there is none.

        Returns:
            The follower, and whether it is to look now: a checkpoint may be written after the last
            step of an epoch and before the look at its end.
        """
        due = {epoch - epoch % every for epoch in (math.floor(done), math.ceil(done))}
        last = stored.get("epoch", 0)
        missed = done in due and last == done - every
        if missed or last in due:
            return cls(stored), missed
        if due != {0}:
            _warn_of_loss(f"after epoch {done:g}")
        return cls(), False

    @property
    def examples(self) -> "pd.DataFrame":
        """What became of the examples so far; see `gengap.Run.examples`."""
        if self._probe is None:
            raise ValueError("`examples` must be asked for after the first epoch; none has ended.")
        return Probed(examples=self._probe.columns(0)).frames()["examples"]

    def look(
        self,
        model: nn.Module,
        loader: DataLoader,
        predict: Predict,
        epoch: int,
        dataset: Dataset | None = None,
    ) -> None:
        """Go over all examples after so many epochs, if that has not been done.

        Args:
            model: Put in evaluation mode meanwhile.
            loader: The training loader: its batch size and collation are used.
            predict: Model and batch to logits [b, c] and labels [b].
            epoch: Epochs done.
            dataset: The examples; None takes those of the loader.
        """
        if epoch <= self._epoch:
            return
        with evaluating(model), torch.no_grad():
            batches = _in_order(loader, dataset)
            parts = [_checked(*predict(model, batch)) for batch in batches]
        outputs, labels = (torch.cat(column) for column in zip(*parts, strict=True))
        probe = self._probe_of(labels, outputs.shape[1], batches.dataset)
        losses = F.cross_entropy(outputs, labels, reduction="none")
        probe.start(epoch)
        everything = torch.arange(len(labels), device=labels.device)
        probe.take(outputs[None], labels[None], losses[None], everything)
        probe.finish()
        self._epoch = epoch
        row = probe.row(0)
        self.logged = {name: row[name] for name in ("learned", "forgetting_events")}

    def state(self) -> dict[str, Any]:
        """Return tensors and plain numbers from which `begun` goes on; empty before a look."""
        if self._probe is None:
            return {}
        tensors = {"labels": self._labels, **self._probe.tensors}
        plain: dict[str, Any] = {"epoch": self._epoch, "evaluations": self._probe.evaluations}
        plain["dataset"] = self._dataset
        return plain | {name: value.cpu().clone() for name, value in tensors.items()}

    def _probe_of(self, labels: Tensor, classes: int, dataset: Dataset) -> ExampleProbe:
        """Return what follows these examples, on their device."""
        known = self._probe
        if known is not None and not self._restored and len(labels) != len(self._labels):
            raise ValueError(
                "`dataset` must have the same length at every look; got "
                f"{len(labels)} examples after {len(self._labels)}."
            )
        if known is not None and self._restored:
            same = torch.equal(labels.cpu(), self._labels) and self._is_of(dataset)
            if not (same and known.tensors["probability"].shape[-1] == classes):
                _warn_of_loss("with other examples")
                known = None
        self._restored = False
        if known is None:
            known = _new_probe(labels, classes)
            self._labels, self._dataset = labels.cpu(), fingerprint(dataset)
        elif known.tensors["first"].device != labels.device:
            known = _probe_from(self.state(), labels.device)
        self._probe = known
        return known

    def _is_of(self, dataset: Dataset) -> bool:
        """Return whether a restored state is of these examples, as far as one can tell."""
        now = fingerprint(dataset) if self._dataset else ""
        return not now or now == self._dataset


def _new_probe(labels: Tensor, classes: int) -> ExampleProbe:
    split = Split(
        inputs=torch.zeros(len(labels), 1),
        targets=labels.cpu(),
        num_classes=classes,
        half="train",
        name="training examples",
    )
    return ExampleProbe([split], [torch.arange(len(labels))], labels.device)


def _probe_from(state: Mapping[str, Any], device: torch.device | str) -> ExampleProbe:
    probe = _new_probe(state["labels"].to(device), state["probability"].shape[-1])
    probe.tensors = {name: state[name].to(device) for name in probe.tensors}
    probe.evaluations = state["evaluations"]
    return probe


def _warn_of_loss(where: str) -> None:
    warnings.warn(
        f"Training goes on {where}, and the checkpoint does not hold what was seen of these "
        "examples before: learning times, margins and means begin at the next look.",
        stacklevel=2,
    )


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode; every module gets its own mode back."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _in_order(loader: DataLoader, dataset: Dataset | None) -> DataLoader:
    """Return a loader of such batches, but in the order of the data set, all of them."""
    examples: Any = loader.dataset if dataset is None else dataset
    if not hasattr(examples, "__len__"):
        raise ValueError(
            "`dataset` must have a length, for its examples to be followed; got a "
            f"{type(examples).__name__}. Give `dataset` one that is indexed."
        )
    order = SequentialSampler(examples)
    whole = loader.batch_sampler is None  # the data set makes the batches
    drawn: Any = loader.sampler if whole else loader.batch_sampler
    if whole and not isinstance(drawn, BatchSampler):
        batches: Any = order
    else:
        size = loader.batch_size or getattr(drawn, "batch_size", None) or _BATCH
        batches = BatchSampler(order, size, drop_last=False)
    return DataLoader(
        examples,
        batch_size=None if whole else 1,
        sampler=batches if whole else None,
        batch_sampler=None if whole else batches,
        collate_fn=loader.collate_fn,
        generator=torch.Generator(),
    )


def _checked(outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    if outputs.ndim != 2 or labels.shape != outputs.shape[:1] or labels.is_floating_point():
        raise ValueError(
            "`predict` must give logits [examples, classes] and labels [examples]; got shapes "
            f"{tuple(outputs.shape)} and {tuple(labels.shape)}. Give a `predict` of your own."
        )
    return outputs.float(), labels.long()
