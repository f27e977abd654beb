"""The Fisher-Rao norm: the length of the parameters in the metric of the predictions."""

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor, nn

from gengap._checks import check_choice
from gengap._functional import functional_call
from gengap.risk import Risk

from ._chunk_products import twice_differentiable
from ._flat_risk import FlatRisk


@final
@dataclass(frozen=True, kw_only=True)
class FisherRaoNorm:
    """What `fisher_rao_norm` found.

    Attributes:
        value: The norm, in the units of the loss.
        standard_error: 0: the mean over the split is exact.
        sampling_error: Standard error of the value as that of the distribution which the examples
            come from.
        passes: Cost in forward-and-backward passes.
    """

    value: float
    standard_error: float
    sampling_error: float
    passes: float

    def __float__(self) -> float:
        return self.value


def fisher_rao_norm(
    risk: Risk, *, kind: Literal["empirical", "true"] = "empirical"
) -> FisherRaoNorm:
    r"""Measure the length of the parameters in the Fisher metric.

    $$\|\theta\|_{fr} = \sqrt{\theta^T F \theta} = \sqrt{\frac1n \sum_i \mathbb{E}_y \,
    \langle \theta, \nabla_\theta \ell(f_\theta(x_i), y) \rangle^2}$$

    with the given labels ("empirical", as in the paper's experiments) or y drawn from the
    predictions ("true", cross-entropy on classes only). Exact, from one derivative along the
    parameters; of a network of K ReLU layers without biases it is K times the root mean square of
    the loss's derivative along the outputs.

    Units: those of the loss; from 0 up. Does not change under any rescaling of weights and biases
    that keeps the function. Cost: about 3 forward-and-backward passes.

    Args:
        risk: The risk; computed in float64.
        kind: Which labels.

    Source:
        Liang et al. (2019), arXiv:1711.01530, definition 2 and theorem 3.1.
    """
    check_choice("kind", kind, ("empirical", "true"))
    flat = FlatRisk.of(risk)
    params = flat.risk.params
    squares = []
    for x, y in flat.risk.batches():
        outputs, moved = _along(flat.risk.model, params, x)
        squares.append(_squares(flat.risk, kind, outputs, moved, y))
    values = torch.cat(squares)
    value = float(values.mean()) ** 0.5
    spread = float(values.std()) / flat.risk.n**0.5 if flat.risk.n > 1 else float("nan")
    return FisherRaoNorm(
        value=value,
        standard_error=0.0,
        sampling_error=spread / (2 * value) if value > 0 else 0.0,
        passes=flat.passes + 2.5,
    )


def _along(model: nn.Module, params: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the outputs [b, ...] and their derivative along the parameters.

    The derivative in v of <J^T v, theta>, by two backward passes: it does not depend on v.
    """
    point = {name: value.detach().requires_grad_() for name, value in params.items()}
    with twice_differentiable():
        outputs = functional_call(model, point, (x,))
        v = torch.zeros_like(outputs, requires_grad=True)
        if not outputs.requires_grad:
            return outputs, torch.zeros_like(outputs)
        slopes = torch.autograd.grad(
            outputs, list(point.values()), v, create_graph=True, materialize_grads=True
        )
        parts = [(s * t.detach()).sum() for s, t in zip(slopes, point.values(), strict=True)]
        inner = torch.stack(parts).sum()
    return outputs.detach(), torch.autograd.grad(inner, v)[0]


def _squares(risk: Risk, kind: str, outputs: Tensor, moved: Tensor, y: Tensor) -> Tensor:
    """Return the mean squared derivative of every example's loss along the parameters, [b]."""
    if kind == "true":
        if outputs.ndim != 2 or risk.split.num_classes is None:
            raise ValueError(
                f"`kind` must be 'empirical' where outputs are not classes [b, c]; got {kind!r} "
                f"and outputs of shape {tuple(outputs.shape)}."
            )
        chances = outputs.softmax(-1)
        centred = moved - (chances * moved).sum(-1, keepdim=True)
        return (chances * centred.square()).sum(-1)
    leaf = outputs.requires_grad_()
    with torch.enable_grad():
        slopes = torch.autograd.grad(risk.losses(leaf, y).sum(), leaf)[0]
    return (slopes * moved).flatten(1).sum(1).square()
