"""How parameters scale when every place of a network is given one factor."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ._symmetries import Symmetries


@final
@dataclass(frozen=True, kw_only=True)
class Block:
    """Elements of one parameter with the same exponents.

    Attributes:
        name: The parameter.
        where: Which elements, a mask of the parameter's shape.
        exponents: What each place's log-factor is multiplied by, [places].
        exact: Whether the elements scale by just that; not so for a weight of BatchNorm that may
            have to help its running variance.
    """

    name: str
    where: Tensor
    exponents: Tensor
    exact: bool


def blocks(found: Symmetries, shapes: dict[str, torch.Size]) -> list[Block]:
    """Divide all parameters into blocks of equal exponents, one log-factor a place."""
    place = torch.zeros(found.num_scales + 1, dtype=torch.int64)
    for number, rescaling in enumerate(found.rescalings, start=1):
        place[rescaling.scales + 1] = number
    count, helping = len(found.rescalings), {norm.weight for norm in found.norms}
    result = []
    for name, shape in shapes.items():
        if name in found.exponents:
            pair = found.exponents[name]
            keys = [place[p.abs()] * p.sign() for p in (pair.plus, pair.minus)]
        else:
            keys = [torch.zeros(1, dtype=torch.int64)] * 2
        both = torch.stack([key.expand(shape) for key in keys])
        for plus, minus in both.reshape(2, -1).unique(dim=1).T.tolist():
            exponents = torch.zeros(count + 1, dtype=torch.float64)
            exponents[abs(plus)] += _sign(plus)
            exponents[abs(minus)] -= _sign(minus)
            where = (both[0] == plus) & (both[1] == minus)
            result.append(
                Block(name=name, where=where, exponents=exponents[1:], exact=name not in helping)
            )
    return result


def spread(found: Symmetries, log_factors: Tensor) -> Tensor:
    """Return log-scales [num_scales] from one log-factor a place."""
    log_scales = found.log_scales()
    for place, value in zip(found.rescalings, log_factors, strict=True):
        log_scales[place.scales] = value
    return log_scales


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)
