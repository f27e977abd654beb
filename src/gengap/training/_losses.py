"""Losses of every example, for one network or a stack of them."""

from torch import Tensor
from torch.nn import functional as F

from gengap.data import Part


def per_example_losses(
    outputs: Tensor, targets: Tensor, *, loss: str, label_smoothing: float = 0.0
) -> Tensor:
    """Return the loss of every example, [...], in nats for cross-entropy.

    Cross-entropy with smoothing s is (1 - s) times that of the label plus s times the mean over
    all classes. Squared error is half the squared distance.

    Args:
        outputs: Logits or predictions, [..., c].
        targets: Class indices [...], or real values [..., c].
        loss: "cross_entropy" or "squared_error".
        label_smoothing: Share of the target spread over all classes, in [0, 1].
    """
    if loss == "squared_error":
        return 0.5 * (outputs - targets.to(outputs.dtype)).square().sum(-1)
    flat = F.cross_entropy(
        outputs.flatten(0, -2),
        targets.flatten(),
        reduction="none",
        label_smoothing=label_smoothing,
    )
    return flat.view(targets.shape)


def mean_over_batch(losses: Tensor, part: Part | None) -> Tensor:
    """Return the means [l] of losses [l, b], or of a part of a batch, its share of the means."""
    return losses.sum(1) / part.whole if part else losses.mean(1)
