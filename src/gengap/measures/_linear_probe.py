"""Softmax regression on features."""

from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor
from torch.nn import functional as F

from gengap._right import is_right

_STEPS, _TOLERANCE = 300, 1e-5
_LEAST = 0.01
"""Least scale of a feature, as a share of the root of their mean variance."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class LinearProbe:
    """Softmax regression on standardized features.

    Attributes:
        weight: [d, c], on standardized features.
        bias: [c].
        mean: Of the features, [d].
        scale: What they are divided by, [d]: their standard deviations, but at least a hundredth
            of the root of their mean variance, so that a unit which hardly moves on the training
            examples cannot decide elsewhere; 1 if all are constant.
        gradient: Largest entry of the gradient where the search ended.
        converged: Whether that is at most 1e-5.
    """

    weight: Tensor = field(repr=False)
    bias: Tensor = field(repr=False)
    mean: Tensor = field(repr=False)
    scale: Tensor = field(repr=False)
    gradient: float
    converged: bool

    def logits(self, features: Tensor) -> Tensor:
        """Return the logits [n, c] of features [n, d], in float64."""
        return (features.double() - self.mean) / self.scale @ self.weight + self.bias

    def loss(self, features: Tensor, targets: Tensor) -> float:
        """Return the mean cross-entropy in nats."""
        return float(F.cross_entropy(self.logits(features), targets))

    def accuracy(self, features: Tensor, targets: Tensor) -> float:
        """Return the share of examples that are right."""
        return float(is_right(self.logits(features), targets).double().mean())


def fit_probe(
    features: Tensor, targets: Tensor, *, num_classes: int, ridge: float = 1e-3
) -> LinearProbe:
    r"""Fit softmax regression: mean cross-entropy and $\frac{\text{ridge}}{2} \|W\|^2$, float64.

    Args:
        features: [n, d].
        targets: Classes, [n].
        num_classes: c.
        ridge: L2 coefficient, above 0, so that there is one optimum; the bias is free.
    """
    x = features.double()
    mean, scale = x.mean(0), x.std(0, correction=0)
    scale = scale.clamp(min=_LEAST * float(scale.square().mean().sqrt()))
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    x = (x - mean) / scale
    with torch.enable_grad():
        weight = x.new_zeros(x.shape[1], num_classes).requires_grad_()
        bias = x.new_zeros(num_classes).requires_grad_()
        search = torch.optim.LBFGS(
            [weight, bias],
            max_iter=_STEPS,
            history_size=20,
            tolerance_grad=_TOLERANCE,
            tolerance_change=0.0,
            line_search_fn="strong_wolfe",
        )

        def closure() -> float:
            search.zero_grad()
            loss = F.cross_entropy(x @ weight + bias, targets) + 0.5 * ridge * weight.square().sum()
            loss.backward()
            return float(loss.detach())

        search.step(closure)
        closure()
    assert weight.grad is not None
    assert bias.grad is not None
    gradient = float(max(weight.grad.abs().max(), bias.grad.abs().max()))
    return LinearProbe(
        weight=weight.detach(),
        bias=bias.detach(),
        mean=mean,
        scale=scale,
        gradient=gradient,
        converged=gradient <= _TOLERANCE,
    )
