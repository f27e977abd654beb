"""What becomes of the training examples in other people's trainers, epoch by epoch."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, SequentialSampler

from gengap.data import Split
from gengap.training import ExampleProbe, Probed

if TYPE_CHECKING:
    import pandas as pd

Predict = Callable[[Any, Any], tuple[Tensor, Tensor]]


class Follower:
    """Looks at every training example at the end of epochs, in evaluation mode.

    The examples are taken in the order of their data set, by a loader of its own, which draws
    nothing from the global generators.

    Attributes:
        logged: The shares to log after the last look.
    """

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self._probe: ExampleProbe | None = None
        self.logged: dict[str, float] = {}

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
        """Go over all examples after so many epochs.

        Args:
            model: Put in evaluation mode meanwhile.
            loader: The training loader: its batch size and collation are used.
            predict: Model and batch to logits [b, c] and labels [b].
            epoch: Epochs done.
            dataset: The examples; None takes those of the loader.
        """
        with evaluating(model), torch.no_grad():
            batches = _in_order(loader, dataset)
            parts = [_checked(*predict(model, batch)) for batch in batches]
        outputs, labels = (torch.cat(column) for column in zip(*parts, strict=True))
        if self._probe is None:
            split = Split(
                inputs=torch.zeros(len(labels), 1),
                targets=labels.cpu(),
                num_classes=outputs.shape[1],
                half="train",
                name="training examples",
            )
            self._probe = ExampleProbe([split], [torch.arange(len(labels))], labels.device)
        losses = F.cross_entropy(outputs, labels, reduction="none")
        self._probe.start(epoch)
        everything = torch.arange(len(labels), device=labels.device)
        self._probe.take(outputs[None], labels[None], losses[None], everything)
        row = self._probe.row(0)
        self.logged = {name: row[name] for name in ("learned", "forgetting_events")}


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
    return DataLoader(
        examples,
        batch_size=loader.batch_size or 64,
        sampler=SequentialSampler(examples),
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
