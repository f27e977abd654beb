"""Coherence of a network that trains with BatchNorm, from the gradients of its batches."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from gengap._checks import check_count
from gengap._copies import copy_of
from gengap._streams import derive_seed, own_draws, streams
from gengap.data import Split
from gengap.risk import Loss, find_loss

from ._batch_coherence import BatchCoherence, inner


def minibatch_coherence(
    model: nn.Module,
    split: Split,
    *,
    batch_size: int,
    loss: str | Loss = "cross_entropy",
    seed: int = 0,
    standard_errors: bool = True,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> BatchCoherence:
    r"""Estimate the coherence of examples from batches that a model meets in training mode.

    With BatchNorm in training mode no example has a gradient of its own: its gradient depends on
    the rest of its batch. What is estimated is the alpha of independent gradients whose means
    over batches would vary as much as these batches' gradients do. It goes with the batch size,
    for the batches' statistics do. Dropout, where there is some, is on.

    Cost: a forward and a backward pass over the split, twice with standard errors.

    Args:
        model: Any module; copied. The caller's stays as it is, running statistics too.
        split: The examples. They are shuffled and cut into batches; a last batch that is
            not full is left out.
        batch_size: Examples in a batch, b. The error falls with the number of batches.
        loss: As of `Risk`.
        seed: Where the order, and dropout's draws, come from.
        standard_errors: Whether to go over the batches again for the standard error.
        dtype: Floating dtype to compute in; None takes the model's.
        device: Where to compute; None is where the model is.

    Returns:
        The estimate, with `.alpha`, `.unbiased_alpha`, `.standard_error`, `.per_layer`.

    Raises:
        ValueError: The split gives fewer than two batches, or there is nothing to train.
    """
    batch_size = check_count("batch_size", batch_size)
    num_batches = len(split) // batch_size
    if num_batches < 2:
        raise ValueError(
            f"`batch_size` must leave at least two batches of {len(split)} examples; got "
            f"{batch_size}."
        )
    first = next((p for p in model.parameters() if p.requires_grad), None)
    if first is None:
        raise ValueError("`model` must have parameters to train; got none.")
    own = copy_of(model).to(device or first.device, dtype or first.dtype)
    own.train()
    own.zero_grad()
    batches = _Batches(own, split, find_loss(loss), batch_size, seed)
    total = {k: torch.zeros_like(p, dtype=torch.float64) for k, p in batches.trained.items()}
    squares = torch.zeros(num_batches, len(total), dtype=torch.float64)
    for row, gradient in enumerate(batches):
        for name, value in gradient.items():
            total[name] += value
        squares[row] = torch.stack([value.square().sum().cpu() for value in gradient.values()])
    dots = [inner(gradient, total) for gradient in batches] if standard_errors else None
    return BatchCoherence(
        batch_size=batch_size,
        num_batches=num_batches,
        of_sums={name: float(value.square().sum()) for name, value in total.items()},
        of_each=dict(zip(total, squares.sum(0).tolist(), strict=True)),
        batch_norms=squares.sum(1),
        batch_dots=None if dots is None else torch.tensor(dots, dtype=torch.float64),
    )


class _Batches:
    """The mean gradients of a split's shuffled batches, the same whenever they are gone over."""

    def __init__(
        self, model: nn.Module, split: Split, loss: Loss, batch_size: int, seed: int
    ) -> None:
        self.model, self.split, self.loss, self.seed = model, split, loss, seed
        self.trained = {k: p for k, p in model.named_parameters() if p.requires_grad}
        order = torch.randperm(len(split), generator=streams(seed)("batches"))
        kept = len(split) // batch_size * batch_size
        self.batches = order[:kept].view(-1, batch_size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Yield name to float64 tensor, a batch at a time."""
        first = next(iter(self.trained.values()))
        for number, chosen in enumerate(self.batches):
            x, y = self.split.batch(chosen)
            x = x.to(first) if x.is_floating_point() else x.to(first.device)
            with own_draws(derive_seed(self.seed, "dropout", number)), torch.enable_grad():
                mean = self.loss(self.model(x), y.to(first.device)).mean()
            found = torch.autograd.grad(mean, list(self.trained.values()), allow_unused=True)
            yield {
                name: torch.zeros_like(p, dtype=torch.float64) if g is None else g.double()
                for (name, p), g in zip(self.trained.items(), found, strict=True)
            }
