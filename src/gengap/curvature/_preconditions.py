"""What a risk must be before it is differentiated twice."""

import torch
from torch import nn

from gengap.gradients import check_evaluation_mode
from gengap.risk import Risk

_ROWS = 4


def check_ready(risk: Risk) -> None:
    """Require examples, evaluation mode, and a loss that is finite and always the same.

    Raises:
        ValueError: One of these is missing; the sentence says which.
    """
    if not isinstance(risk, Risk):
        raise TypeError(f"`risk` must be a gengap.Risk; got {type(risk).__name__}.")
    if not risk.n:
        raise ValueError("`risk` must have at least one example; got an empty split.")
    check_evaluation_mode(risk.model)
    x, y = (risk.cast(part) for part in risk.split.batch(torch.arange(min(_ROWS, risk.n))))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        first, second = (risk.losses(risk.model(x), y) for _ in range(2))
    if not torch.isfinite(first).all():
        raise ValueError(
            "`risk` must have a finite loss at its point; got nan or inf. Check the parameters "
            "and the inputs."
        )
    if not torch.equal(first, second):
        raise ValueError(
            f"`risk.model` must give the same loss at every call{_who(risk.model)}; got two "
            "different ones. Call dropout with training=self.training."
        )


def _who(model: nn.Module) -> str:
    return f", but {type(model).__name__} draws at random in `forward`"
