"""What more and more features do: one pass over them, a fit of every ridge at each count."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from gengap._checks import check_count

from ._ridge_spectrum import Blocks, fit_gram


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class TrendPoint:
    """The fits of all ridges to the first p features.

    Attributes:
        num_features: p.
        predictions: Of the test examples, [l, m, k].
        norms: Norm of the coefficients, Frobenius, [l].
        residuals: Mean squared training residual, summed over targets, [l].
        left_out: Prediction of each training example by the fit to the others, [l, n, k].
        rank: Eigenvalues of the centred Gram matrix that do not count as zero.
    """

    num_features: int
    predictions: Tensor = field(repr=False)
    norms: Tensor = field(repr=False)
    residuals: Tensor = field(repr=False)
    left_out: Tensor = field(repr=False)
    rank: int


def feature_trend(
    blocks: Blocks,
    inputs: Tensor,
    targets: Tensor,
    test: Tensor,
    *,
    counts: Sequence[int],
    ridges: Sequence[float] = (0.0,),
    relative: bool = False,
) -> Iterator[TrendPoint]:
    """Yield the fits, with an intercept, to the first p features, for growing p.

    Every feature is computed once: the Gram matrix of the training examples, [n, n], and that
    of test and training examples, [m, n], grow by a block at a time. Each count costs one
    eigendecomposition, O(n^3).

    Args:
        blocks: Features of inputs, some columns at a time, in the same order for all inputs.
        inputs: Training inputs, [n, ...].
        targets: [n, k], in the dtype of the Gram matrices and their decomposition.
        test: Test inputs, [m, ...].
        counts: Numbers of features, growing; what lies beyond the last feature is left out.
        ridges: Added to the Gram matrix, as in RidgePath.
        relative: Whether ridges are in units of the mean squared length of an example's centred
            features, which grows with p.

    Raises:
        ValueError: A count is not above the one before it.
    """
    for before, count in zip([0, *counts], counts, strict=False):
        check_count("counts", count, least=before + 1)
    offset = targets.mean(dim=0)
    gram = targets.new_zeros(len(inputs), len(inputs))
    cross = targets.new_zeros(len(test), len(inputs))
    seen = 0
    waiting = list(counts)
    for own, others in zip(blocks(inputs), blocks(test), strict=True):
        start = 0
        while waiting and waiting[0] <= seen + own.shape[1]:
            stop = waiting[0] - seen
            _grow(gram, cross, own[:, start:stop], others[:, start:stop])
            unit = float(gram.diagonal().mean()) if relative else 1.0
            own_ridges = [ridge * unit for ridge in ridges]
            yield _point(gram, cross, targets - offset, offset, waiting.pop(0), own_ridges)
            start = stop
        if not waiting:
            return
        _grow(gram, cross, own[:, start:], others[:, start:])
        seen += own.shape[1]


def _grow(gram: Tensor, cross: Tensor, own: Tensor, others: Tensor) -> None:
    """Add columns to both matrices, centred by the training examples."""
    mean = own.mean(dim=0)
    own, others = (own - mean).to(gram), (others - mean).to(gram)
    gram.addmm_(own, own.mT)
    cross.addmm_(others, own.mT)


def _point(
    gram: Tensor, cross: Tensor, y: Tensor, offset: Tensor, count: int, ridges: Sequence[float]
) -> TrendPoint:
    found = fit_gram(gram, y, num_features=count, ridges=ridges, intercept=True, leave_one_out=True)
    assert found.left_out is not None
    return TrendPoint(
        num_features=count,
        predictions=torch.matmul(cross, found.dual) + offset,
        norms=found.norms.square().sum(1).sqrt(),
        residuals=found.residuals,
        left_out=found.left_out + offset,
        rank=len(found.values),
    )
