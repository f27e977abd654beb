"""Whether a model treats every example of a batch by itself."""

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from ._risk import Risk

_ROWS = 4


def check_separate(risk: "Risk") -> None:
    """Require that an example's output does not depend on the others in its batch.

    Compares the outputs of a few examples with those that each gives alone.

    Raises:
        ValueError: They differ, or the model does not take the examples.
    """
    rows = min(_ROWS, risk.n)
    x, y = (risk.cast(part) for part in risk.split.batch(torch.arange(rows)))
    with torch.no_grad():
        try:
            together = risk.model(x)
        except Exception as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else "no message"
            raise ValueError(
                f"`model` must take examples of shape {tuple(x.shape[1:])}; it raised "
                f"{type(error).__name__}: {reason.rstrip('.')}."
            ) from error
        if not isinstance(together, torch.Tensor) or together.ndim == 0 or len(together) != rows:
            got = tuple(together.shape) if isinstance(together, torch.Tensor) else type(together)
            raise ValueError(f"`model` must return a tensor with a row an example; got {got}.")
        risk.losses(together, y)
        alone = torch.cat([_alone(risk, x[i : i + 1]) for i in range(rows)])
    scale = together.abs().max().clamp(min=1)
    if rows > 1 and (together - alone).abs().max() > 1e-2 * scale:
        raise ValueError(_sentence(risk.model))


def _alone(risk: "Risk", x: torch.Tensor) -> torch.Tensor:
    try:
        return risk.model(x)
    except ValueError as error:  # BatchNorm has no variance of one example
        raise ValueError(_sentence(risk.model)) from error


def _sentence(model: nn.Module) -> str:
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    guilty = [
        name for name, m in model.named_modules() if isinstance(m, kinds) and m.running_mean is None
    ]
    if guilty:
        return (
            f"`model` must treat every example by itself; its BatchNorm layer {guilty[0]!r} keeps "
            "no running statistics. Build it with track_running_stats=True, or use GroupNorm."
        )
    return (
        "`model` must treat every example by itself, but an example's output changes with the "
        "others in its batch (or from call to call). Take out what mixes or draws."
    )
