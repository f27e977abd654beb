"""Margins, and margins normalized by the spectral complexity of the network."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from gengap.data import Split

from ._chain import chain
from ._chain_norms import input_squares, spectral_complexity
from ._outputs import outputs_of

_CHUNK = 512


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class NormalizedMargins:
    """The margins of all examples and what they are measured against.

    Attributes:
        margins: Score of the label less the largest other, float64 [n].
        complexity: Spectral complexity of the network.
        scale: Root of the sum of squared lengths of the inputs, over n.
    """

    margins: Tensor
    complexity: float
    scale: float

    @property
    def values(self) -> Tensor:
        """Margins over complexity times scale, float64 [n]; without units."""
        return self.margins / (self.complexity * self.scale)

    def quantile(self, share: float) -> float:
        """Return the normalized margin below which a share of the examples lies."""
        return float(self.values.quantile(share))


def normalized_margins(
    model: nn.Module, split: Split, *, start: nn.Module | None = None
) -> NormalizedMargins:
    r"""Return the margins over spectral complexity and size of the inputs.

    $\frac{f(x)_y - \max_{k \ne y} f(x)_k}{R_A \|X\|_2 / n}$

    Comparable between networks of different size and labels: random labels leave smaller ones.
    Factors moved from layer to layer change it a little where there are biases, factors moved
    from unit to unit more.

    Args:
        model: A chain of layers, as of `capacity_bounds`.
        split: The examples, as a rule those it was trained on.
        start: The reference of the spectral complexity; None is zero.

    Raises:
        ValueError: The network is not a chain.

    Source:
        Bartlett, Foster and Telgarsky (2017), arXiv:1706.08498, figure 3.
    """
    x = split.batch(torch.zeros(1, dtype=torch.int64))[0]
    links = chain(model, x)
    squares = torch.stack([x.cpu().double().square().sum(0) for x, _ in split.batches(_CHUNK)]).sum(
        0
    )
    return NormalizedMargins(
        margins=margins_of(model, split),
        complexity=spectral_complexity(links, None if start is None else chain(start, x)),
        scale=input_squares(links, squares, len(split)) ** 0.5 / len(split),
    )


def margins_of(model: nn.Module, split: Split) -> Tensor:
    """Return the score of every label less the largest other, float64 [n].

    Raises:
        ValueError: The outputs are not a row of scores an example.
    """
    was = model.training
    try:
        outputs = outputs_of(model.eval(), split).double()
    finally:
        model.train(was)
    if outputs.ndim != 2 or outputs.shape[1] < 2:
        raise ValueError(
            "`model` must give one row of scores an example, [n, c]; got shape "
            f"{tuple(outputs.shape)}."
        )
    targets = split.targets.cpu()[:, None]
    own = outputs.gather(1, targets)[:, 0]
    return own - outputs.scatter(1, targets, -torch.inf).amax(1)


def ramp(margins: Tensor, width: float) -> float:
    """Return the mean ramp loss: 1 at a margin of 0 or less, 0 at `width` or more."""
    return float((1 - margins / width).clamp(0, 1).mean())
