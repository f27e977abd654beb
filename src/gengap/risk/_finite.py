"""Whether a risk is a number at the model's own point."""

import math

import torch

from ._risk import Risk


def check_finite(risk: Risk) -> None:
    """Require finite parameters and a finite loss, in the risk's own dtype; one forward pass.

    Raises:
        ValueError: A parameter or the loss is not finite.
    """
    check_finite_parameters(risk)
    check_finite_loss(risk())


def check_finite_parameters(risk: Risk) -> None:
    """Require parameters that hold neither NaN nor infinity.

    Raises:
        ValueError: One does.
    """
    for name, value in risk.params.items():
        if not torch.isfinite(value).all():
            raise ValueError(
                f"`risk` must have finite parameters; {name!r} holds NaN or infinity. The "
                "training diverged, or the weights are damaged."
            )


def check_finite_loss(loss: float) -> None:
    """Require that the loss at the model's parameters is finite.

    Raises:
        ValueError: It is not.
    """
    if not math.isfinite(loss):
        raise ValueError(
            f"`risk` must be finite at the model's parameters; got {loss}. Look for NaN in "
            "the data."
        )
