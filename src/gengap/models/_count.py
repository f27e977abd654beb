"""The number of trainable parameters."""

from torch import nn


def num_parameters(model: nn.Module) -> int:
    """Return the number of trainable parameters, p: shared ones once, buffers not.

    Examples:
        >>> num_parameters(nn.Linear(3, 2))
        8
    """
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
