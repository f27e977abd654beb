"""How correlated features are within a class."""

import math

import torch
from torch import Tensor

from gengap._streams import streams


def class_correlation(
    features: Tensor, targets: Tensor, *, seed: int = 0, name: str = ""
) -> tuple[float, float]:
    r"""Return the mean absolute correlation within classes, and what chance alone would show.

    $\sum_y \frac{n_y}{n} \operatorname{mean}_{i < j} |\operatorname{corr}(T_i, T_j \mid y)|$,
    over pairs of features neither of which is constant in the class; classes of fewer than 3
    examples are left out. Of few examples independent features show
    $\sqrt{2 / (\pi n_y)}$ and more, which is what the second number is for: the same after every
    feature was permuted within each class.

    Args:
        features: T, [n, d].
        targets: Classes, [n].
        seed: Of the permutations.
        name: Of their stream.

    Returns:
        Two shares in [0, 1]; NaN where no class has two features that vary.
    """
    generator = streams(seed)("permuted", name)
    found, weights = [], []
    for label in targets.unique():
        own = features[targets == label].double()
        own = own[:, own.std(0, correction=0) > 1e-12] if len(own) > 2 else own[:, :0]
        if own.shape[1] < 2:
            continue
        order = torch.rand(own.shape, generator=generator).argsort(0)
        found.append((_mean(own), _mean(own.gather(0, order))))
        weights.append(len(own))
    if not found:
        return math.nan, math.nan
    mean = torch.tensor(weights).double() @ torch.tensor(found).double() / sum(weights)
    return float(mean[0]), float(mean[1])


def _mean(features: Tensor) -> float:
    """Return the mean absolute correlation of different columns."""
    centred = features - features.mean(0)
    unit = centred / centred.norm(dim=0)
    d = unit.shape[1]
    return float(((unit.T @ unit).abs().sum() - d) / (d * (d - 1)))
