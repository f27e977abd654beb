"""Whether a network has real parameters."""

from torch import nn


def check_real_parameters(model: nn.Module) -> None:
    """Require that the parameters to train are real.

    Raises:
        ValueError: One is complex.
    """
    for name, value in model.named_parameters():
        if value.requires_grad and value.is_complex():
            raise ValueError(
                f"`model` must have real parameters to train; got {name!r}, which is complex. Keep "
                "its real and imaginary parts in one more axis, and use `torch.view_as_complex`."
            )
