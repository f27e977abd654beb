"""A network of the same function whose epsilon-ball holds a much worse network."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from gengap._checks import check_positive
from gengap.risk import Risk

from ._blocks import blocks, spread
from ._find import find
from ._rescale import transform
from ._symmetries import Symmetries

_INSIDE = 0.999


@final
@dataclass(frozen=True, kw_only=True)
class SharpenedWithin:
    r"""A network of the same function that is sharp within a ball of any size.

    Attributes:
        model: The network.
        epsilon: Radius of the ball, in units of the parameters.
        worse: Parameters inside the ball, name to tensor, where a layer is zero.
        distance: Their Euclidean distance from the network's own, below epsilon.
        sharpness: Least epsilon-sharpness,
            $(L(\text{worse}) - L) / (1 + L)$; a share, times 100 Keskar's unit.
        difference: Largest relative difference of outputs.
    """

    model: nn.Module
    epsilon: float
    worse: dict[str, Tensor]
    distance: float
    sharpness: float
    difference: float


def sharpen_within(
    risk: Risk, epsilon: float, *, symmetries: Symmetries | None = None, place: int | None = None
) -> SharpenedWithin:
    r"""Rescale a network so that a ball of radius epsilon holds one whose layer is zero.

    A layer and its biases are scaled to the length $\epsilon$, the next by the inverse. Setting
    the layer to zero is then a step inside the ball, and leaves, in a chain of layers, a constant
    function: the $\epsilon$-sharpness is at least
    $(L(\text{constant}) - L) / (1 + L)$ however small $\epsilon$ is.

    Args:
        risk: Model, loss and split.
        epsilon: Radius, in units of the parameters.
        symmetries: What `find` returned; None finds them.
        place: Number of the rescaling to use; None tries all and takes the worst.

    Raises:
        ValueError: Nothing can be rescaled.

    Source:
        Dinh et al. (2017), arXiv:1703.04933, section 4.3. Also bounds the full-space sharpness of
        Keskar et al.; their random-subspace version is not reached this way.
    """
    check_positive("epsilon", epsilon)
    inputs = next(iter(risk.batches()))[0]
    found = symmetries or find(risk.model, inputs)
    usable = [n for n, r in enumerate(found.rescalings) if not r.one_sided]
    usable = usable if place is None else [place]
    if not usable:
        raise ValueError("`risk` must hold a model with layers to rescale; got none.")
    tried = [_sharpen(risk, epsilon, found, number, inputs) for number in usable]
    return max(tried, key=lambda one: one.sharpness)


def _sharpen(
    risk: Risk, epsilon: float, found: Symmetries, place: int, inputs: Tensor
) -> SharpenedWithin:
    parts = [
        part
        for part in blocks(found, {name: p.shape for name, p in risk.params.items()})
        if part.exponents[place] == 1
    ]
    before = risk.params
    length = sum(float(before[p.name].double()[p.where].square().sum()) for p in parts) ** 0.5
    log_factors = torch.zeros(len(found.rescalings), dtype=torch.float64)
    log_factors[place] = torch.tensor(_INSIDE * epsilon / length).log()
    factors = spread(found, log_factors).exp()
    changed = transform(risk.model, factors, symmetries=found, example_inputs=inputs)
    own = {k: p.detach() for k, p in changed.model.named_parameters() if p.requires_grad}
    worse = {k: p.clone() for k, p in own.items()}
    for part in parts:
        worse[part.name][part.where] = 0
    gap = sum(float((worse[k] - own[k]).double().square().sum()) for k in own) ** 0.5
    loss = risk()
    return SharpenedWithin(
        model=changed.model,
        epsilon=epsilon,
        worse=worse,
        distance=gap,
        sharpness=(risk(worse) - loss) / (1 + loss),
        difference=changed.difference,
    )
