"""What a trained network gives for the examples of a split."""

import torch
from torch import Tensor, nn

from gengap.data import Split

_CHUNK = 512


def outputs_of(model: nn.Module, split: Split) -> Tensor:
    """Return the outputs [n, ...] as they come, of a network in evaluation mode, on the CPU.

    Raises:
        ValueError: The network does not take the examples.
    """
    first = next(model.parameters())
    try:
        with torch.no_grad():
            parts = [model(x.to(first.device, first.dtype)).cpu() for x, _ in split.batches(_CHUNK)]
    except (RuntimeError, TypeError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ValueError(
            f"`build` must make a network that takes examples of shape {split.input_shape}; it "
            f"raised {type(error).__name__}: {reason}."
        ) from error
    return torch.cat(parts)
