"""A network of the same function whose epsilon-ball holds a much worse network."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from gengap._checks import check_positive
from gengap.risk import Risk

from ._blocks import Block, blocks, spread
from ._evaluate import with_model
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
        worse: Trained parameters inside the ball, name to tensor, where a layer is zero.
        distance: Their Euclidean distance from the network's own, below epsilon.
        sharpness: A lower bound of the epsilon-sharpness,
            $(L(\text{worse}) - L) / (1 + L)$ of `model`; a share, times 100 Keskar's unit.
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

    A layer and its biases are scaled to just below the length $\epsilon$, the next by the inverse.
    Setting the layer to zero is then a step inside the ball, and leaves, in a chain of layers, a
    constant function: the $\epsilon$-sharpness is at least $(L(\text{constant}) - L) / (1 + L)$
    however small $\epsilon$ is. Of a layer only what is trained counts, since a ball is one of
    trained parameters.

    Args:
        risk: Model, loss and split.
        epsilon: Radius, in units of the parameters.
        symmetries: What `find` returned; None finds them.
        place: Number of the rescaling to use; None tries all and takes the worst.

    Raises:
        ValueError: No layer can be rescaled that is trained and not zero, or not that of `place`.

    Source:
        Dinh et al. (2017), arXiv:1703.04933, section 4.3. Also bounds the full-space sharpness of
        Keskar et al.; their random-subspace version is not reached this way.
    """
    check_positive("epsilon", epsilon)
    inputs = next(iter(risk.batches()))[0]
    found = symmetries or find(risk.model, inputs)
    usable = _usable(risk, found, place)
    tried = [_sharpen(risk, epsilon, found, number, inputs) for number in usable]
    return max(tried, key=lambda one: one.sharpness)


def _usable(risk: Risk, found: Symmetries, place: int | None) -> list[int]:
    """Return the numbers of the rescalings to try, each of trained weights that are not zero."""
    count = len(found.rescalings)
    if place is not None and place not in range(count):
        raise ValueError(f"`place` must be the number of one of {count} rescalings; got {place}.")
    usable = [n for n in range(count) if _length(risk, _layer(risk, found, n)) > 0]
    if place is None:
        usable = [n for n in usable if not found.rescalings[n].one_sided]
        if not usable:
            raise ValueError(
                "`risk` must hold a model with a layer to rescale that is trained and not zero; "
                "got none."
            )
        return usable
    if place not in usable:
        raise ValueError(
            "`place` must multiply weights that are trained and not zero; got "
            f"{place} ({found.rescalings[place].name})."
        )
    return [place]


def _layer(risk: Risk, found: Symmetries, place: int) -> list[Block]:
    """Return the trained parameters that a rescaling multiplies."""
    shapes = {name: p.shape for name, p in risk.params.items()}
    return [part for part in blocks(found, shapes) if part.exponents[place] == 1]


def _length(risk: Risk, parts: list[Block]) -> float:
    params = risk.params
    return sum(float(params[p.name].double()[p.where].square().sum()) for p in parts) ** 0.5


def _sharpen(
    risk: Risk, epsilon: float, found: Symmetries, place: int, inputs: Tensor
) -> SharpenedWithin:
    parts = _layer(risk, found, place)
    log_factors = torch.zeros(len(found.rescalings), dtype=torch.float64)
    log_factors[place] = torch.tensor(_INSIDE * epsilon / _length(risk, parts)).log()
    factors = spread(found, log_factors).exp()
    changed = transform(risk.model, factors, symmetries=found, example_inputs=inputs)
    other = with_model(risk, changed.model)
    own = {k: p.clone() for k, p in other.params.items()}
    worse = {k: p.clone() for k, p in own.items()}
    for part in parts:
        worse[part.name][part.where] = 0
    gap = sum(float((worse[k] - own[k]).double().square().sum()) for k in own) ** 0.5
    loss = other()
    return SharpenedWithin(
        model=changed.model,
        epsilon=epsilon,
        worse=worse,
        distance=gap,
        sharpness=(other(worse) - loss) / (1 + loss),
        difference=changed.difference,
    )
