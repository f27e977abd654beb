"""Losses of one example, as functions of a batch of outputs and targets."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor], Tensor]
"""Maps outputs [b, ...] and targets [b, ...] to the losses [b]."""

IGNORED = -100
"""A target that counts for nothing, as in PyTorch."""


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    r"""Return $-\log p_y$ of every example, [b], in nats.

    For sequences, outputs [b, t, c] with targets [b, t], the mean over the positions of an
    example whose target is not -100; 0 where there is none.
    """
    if targets.ndim == 1:
        return F.cross_entropy(outputs, targets, reduction="none")
    flat = F.cross_entropy(
        outputs.flatten(0, -2), targets.flatten(), reduction="none", ignore_index=IGNORED
    )
    counted = (targets != IGNORED).flatten(1).sum(1).clamp(min=1)
    return flat.view(targets.shape).flatten(1).sum(1) / counted


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return half the squared distance of every example, [b]."""
    difference = outputs - targets.to(outputs.dtype)
    return 0.5 * difference.square().flatten(1).sum(1)


NAMED: dict[str, Loss] = {"cross_entropy": cross_entropy, "squared_error": squared_error}


def find_loss(loss: str | Loss) -> Loss:
    """Return the loss of a name, or the callable itself.

    Raises:
        ValueError: The name is not known.
    """
    if callable(loss):
        return loss
    if loss not in NAMED:
        names = ", ".join(map(repr, NAMED))
        raise ValueError(
            f"`loss` must be one of {names}, or a function of outputs and targets that returns "
            f"one loss an example; got {loss!r}."
        )
    return NAMED[loss]
