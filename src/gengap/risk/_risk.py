"""The mean loss of a model on a split, as a pure function of the parameters."""

import copy
from collections.abc import Iterator, Mapping
from typing import final

import torch
from torch import Tensor, nn

from gengap._checks import check_count
from gengap._copies import cast, copy_of
from gengap._functional import functional_call
from gengap._reentrant import parameter_gradients
from gengap.data import Split

from ._fits import check_targets
from ._losses import Loss, find_loss
from ._real import check_real_parameters
from ._separate import check_separate
from ._weight_norm import with_right_weight_norm

Parameters = Mapping[str, Tensor]
_FLOATS_A_CHUNK = 1 << 21


@final
class Risk:
    r"""A model, a loss and a split as one function of the parameters.

    $R(\theta) = \frac1n \sum_i \ell(f_\theta(x_i), y_i)$

    The model is copied and put in evaluation mode, so that dropout is off and BatchNorm uses its
    running statistics; the caller's model is left as it is. Sums over examples are float64
    whatever the dtype of the model.

    Attributes:
        model: The copy, in evaluation mode.
        split: The examples.
        loss: Maps outputs and targets of a batch to one loss an example.
        chunk: Examples in one pass.
        dtype: Floating dtype of parameters and inputs.
        device: Where it is computed.

    Cost: one forward pass a call; `gradient` one forward and one backward pass.

    Examples:
        >>> from gengap.data import as_split
        >>> x, y = torch.tensor([[1.0], [3.0]]), torch.zeros(2, 1)
        >>> split = as_split(x, y, regression=True)
        >>> line = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.constant_(line.weight, 2.0)
        >>> Risk(line, split, loss="squared_error")()
        10.0
    """

    def __init__(
        self,
        model: nn.Module,
        split: Split,
        *,
        loss: str | Loss = "cross_entropy",
        chunk: int | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        """Copy the model and check that it fits the split.

        Args:
            model: Any module; copied.
            split: The examples.
            loss: "cross_entropy", "squared_error" (half the squared distance), or a function of
                outputs [b, ...] and targets [b, ...] that returns one loss an example, [b].
            chunk: Examples in one pass; None chooses by their size.
            dtype: Floating dtype to compute in; None takes the model's.
            device: Where to compute; None is where the model is.

        Raises:
            TypeError: `model` is no module, or `split` no Split.
            ValueError: The model has nothing to train, gives an example another output when
                others are in its batch, or does not run in `dtype`; its outputs, the split's
                targets and a loss given by name do not fit together; or the loss does not give
                one number an example.
        """
        if not isinstance(model, nn.Module):
            raise TypeError(f"`model` must be a torch.nn.Module; got {type(model).__name__}.")
        if not isinstance(split, Split):
            raise TypeError(
                f"`split` must be a gengap.Split; got {type(split).__name__}. Make one with "
                "gengap.data.as_split(inputs, labels)."
            )
        first = next((p for p in model.parameters() if p.requires_grad), None)
        if first is None:
            raise ValueError("`model` must have parameters to train; got none.")
        check_real_parameters(model)
        self.dtype = dtype or first.dtype
        self.device = torch.device(device) if device is not None else first.device
        self.model = cast(copy_of(model), self.device, self.dtype)
        self.model.eval()
        self.model.zero_grad()
        with_right_weight_norm(self.model)
        self.split, self.loss = split, find_loss(loss)
        if isinstance(self.loss, nn.Module):  # with class weights, for example
            self.loss = cast(copy_of(self.loss), self.device, self.dtype)
        if chunk is not None:
            check_count("chunk", chunk)
        width = max(1, torch.Size(split.input_shape).numel())
        self.chunk = chunk or max(16, min(1024, _FLOATS_A_CHUNK // width))
        check_targets(split, self.loss)
        check_separate(self, first.dtype)

    def __len__(self) -> int:
        return self.n

    def __repr__(self) -> str:
        return f"Risk({type(self.model).__name__}, {self.split!r})"

    def __getitem__(self, index: Tensor | slice | list[int]) -> "Risk":
        """Return the risk of the same model on the chosen examples; shares the model."""
        return self.on(self.split[index])

    def on(self, split: Split, *, loss: Loss | None = None) -> "Risk":
        """Return the risk of the same model on another split, or of another loss on it.

        It shares the model, which is not checked again.
        """
        other = copy.copy(self)
        other.split, other.loss = split, loss or self.loss
        check_targets(split, other.loss)
        return other

    @property
    def n(self) -> int:
        """Number of examples."""
        return len(self.split)

    @property
    def params(self) -> dict[str, Tensor]:
        """The point: trainable parameters by name, detached, not copied."""
        return {k: p.detach() for k, p in self.model.named_parameters() if p.requires_grad}

    def __call__(self, params: Parameters | None = None) -> float:
        """Return the mean loss at `params`; None is the model's own point."""
        return float(self.per_example(params).mean())

    def per_example(self, params: Parameters | None = None) -> Tensor:
        """Return the loss of every example at `params`, float64 [n]."""
        with torch.no_grad():
            return torch.cat([self._losses(x, y, params).double() for x, y in self.batches()])

    def gradient(self, params: Parameters | None = None) -> dict[str, Tensor]:
        """Return the gradient of the mean loss at `params`, name to float64 tensor."""
        point = {k: v.detach().requires_grad_() for k, v in (params or self.params).items()}
        total = {k: torch.zeros_like(v, dtype=torch.float64) for k, v in point.items()}
        for x, y in self.batches():
            with torch.enable_grad():
                loss = self._losses(x, y, point).sum()
            parts = parameter_gradients(loss, list(point.values()))
            for name, part in zip(point, parts, strict=True):
                if part is not None:
                    total[name] += part
        return {name: value / self.n for name, value in total.items()}

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield inputs and targets of all examples in order, a chunk at a time."""
        for x, y in self.split.batches(self.chunk):
            yield self.cast(x), self.cast(y)

    def cast(self, values: Tensor) -> Tensor:
        """Return values on the risk's device, floating ones in its dtype."""
        dtype = self.dtype if values.is_floating_point() else values.dtype
        return values.to(self.device, dtype)

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the losses [b] of a batch of outputs [b, ...]."""
        losses = self.loss(outputs, y)
        shape = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        if shape != (len(outputs),):
            raise ValueError(
                f"`loss` must return one number an example, shape ({len(outputs)},); got {shape}."
            )
        return losses

    def _losses(self, x: Tensor, y: Tensor, params: Parameters | None) -> Tensor:
        if params is None:
            return self.losses(self.model(x), y)
        return self.losses(functional_call(self.model, dict(params), (x,)), y)
