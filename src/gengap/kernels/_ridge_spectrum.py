"""A linear model at every ridge, from one factorization of the smaller Gram matrix."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import final

import torch
from torch import Tensor

Blocks = Callable[[Tensor], Iterator[Tensor]]
ROWS = 1024
"""Examples whose features are in memory at once where there are fewer features than examples."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Path:
    r"""Minimizers of $\|Y - \Phi W - 1 c^\top\|^2 + \lambda \|W\|^2$, a ridge each.

    Attributes:
        coefficients: W of every ridge, [l, p, k].
        intercepts: c, [l, k].
        norms: $\|W\|$ of every ridge and target, [l, k].
        residuals: Mean over examples of the squared residual, summed over targets, [l].
        left_out: Prediction of each example by the fit to the others, [l, n, k], or None.
        values: Eigenvalues of the Gram matrix that were kept for the ridgeless solution.
        condition: Largest over least of these.
    """

    coefficients: Tensor = field(repr=False)
    intercepts: Tensor = field(repr=False)
    norms: Tensor = field(repr=False)
    residuals: Tensor = field(repr=False)
    left_out: Tensor | None = field(repr=False)
    values: Tensor = field(repr=False)

    @property
    def condition(self) -> float:
        """Largest over least eigenvalue that the ridgeless solution divides by."""
        return float(self.values.max() / self.values.min()) if len(self.values) else 1.0


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """What is to be fitted.

    Attributes:
        inputs: [n, ...].
        targets: [n, k], in the dtype of all that is computed.
        blocks: Features of inputs, some columns at a time, always in the same order.
        num_features: p, their number.
        ridges: At least 0 each.
        intercept: Whether a constant is fitted, without a penalty.
        leave_one_out: Whether `left_out` is computed.
    """

    inputs: Tensor
    targets: Tensor
    blocks: Blocks
    num_features: int
    ridges: Sequence[float]
    intercept: bool
    leave_one_out: bool


def ridge_path(problem: Problem) -> Path:
    """Fit every ridge by the eigendecomposition of the smaller Gram matrix, n x n or p x p.

    Features are streamed, by columns where they are more than the examples and by rows else,
    twice in the first case and in the second where examples are left out. Ridge 0 is the
    minimum-norm solution: eigenvalues below eps max(n, p) times the largest count as zero, so
    singular values of the features are told from zero down to the root of that.
    """
    if len(problem.inputs) - problem.intercept <= problem.num_features:  # all can be fitted
        return _by_examples(problem)
    return _by_features(problem)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Duals:
    """The fits of all ridges as combinations of examples: W = Phi^T dual.

    Attributes:
        dual: [l, n, k].
        norms: As in Path.
        residuals: As in Path.
        left_out: As in Path, of centred targets.
        values: As in Path.
    """

    dual: Tensor = field(repr=False)
    norms: Tensor = field(repr=False)
    residuals: Tensor = field(repr=False)
    left_out: Tensor | None = field(repr=False)
    values: Tensor = field(repr=False)


def fit_gram(
    gram: Tensor,
    targets: Tensor,
    *,
    num_features: int,
    ridges: Sequence[float],
    intercept: bool,
    leave_one_out: bool,
) -> Duals:
    """Fit every ridge to targets [n, k] from the Gram matrix of n examples.

    Features and targets are centred where there is an intercept.
    """
    n = len(gram)
    values, vectors, kept = _spectrum(gram, max(n, num_features))
    rotated = vectors.mT @ targets
    inverses = torch.stack([_inverse(values, kept, ridge) for ridge in ridges])
    squares = rotated.square()
    left_out = None
    if leave_one_out:
        found = [_left_out(rotated, values, vectors, kept, r, int(intercept)) for r in ridges]
        left_out = targets - torch.stack(found)
    return Duals(
        dual=vectors @ (inverses[:, :, None] * rotated),
        norms=((values * inverses**2) @ squares).clamp(min=0).sqrt(),
        residuals=((1 - values * inverses) ** 2 @ squares).sum(1) / n,
        left_out=left_out,
        values=values[kept],
    )


def _left_out(
    rotated: Tensor,
    values: Tensor,
    vectors: Tensor,
    kept: Tensor,
    ridge: float,
    constants: int,
) -> Tensor:
    """Return by how much the fit to the others misses each example, [n, k].

    The residuals over one minus the leverages. Where nothing is left over, at ridge 0, both are
    zero, and the limit of their ratio at small ridges is taken.
    """
    n = len(values)
    if ridge == 0 and int(kept.sum()) == n - constants:
        weights, share = _inverse(values, kept, 0.0), 0.0
    else:
        weights, share = 1 - values * _inverse(values, kept, ridge), constants / n
    left = vectors @ (weights[:, None] * rotated)
    return left / (vectors.square() @ weights - share)[:, None]


def _by_examples(problem: Problem) -> Path:
    y, offset = _centred(problem)
    gram = y.new_zeros(len(y), len(y))
    for block, _ in _columns(problem):
        gram.addmm_(block, block.mT)
    found = fit_gram(
        gram,
        y,
        num_features=problem.num_features,
        ridges=problem.ridges,
        intercept=problem.intercept,
        leave_one_out=problem.leave_one_out,
    )
    del gram
    coefficients, means = zip(
        *((block.mT @ found.dual, mean) for block, mean in _columns(problem)), strict=True
    )
    weights = torch.cat(coefficients, dim=1)
    return Path(
        coefficients=weights,
        intercepts=offset - torch.cat(means) @ weights,
        norms=found.norms,
        residuals=found.residuals,
        left_out=None if found.left_out is None else found.left_out + offset,
        values=found.values,
    )


def _by_features(problem: Problem) -> Path:
    y, offset = _centred(problem)
    n, p = len(y), problem.num_features
    gram, cross, mean = y.new_zeros(p, p), y.new_zeros(p, y.shape[1]), y.new_zeros(p)
    first = mean
    for rows, features in _rows(problem):
        if rows.start == 0:  # near the mean, so that taking it out cancels little
            first = features.mean(dim=0) * problem.intercept
        features -= first
        gram.addmm_(features.mT, features)
        cross.addmm_(features.mT, y[rows])
        mean = mean + features.sum(dim=0) / n
    if problem.intercept:
        gram.addr_(mean, mean, alpha=-n)
    values, vectors, kept = _spectrum(gram, max(n, p))
    del gram
    rotated = vectors.mT @ cross
    inverses = [_inverse(values, kept, ridge) for ridge in problem.ridges]
    weights = torch.stack([vectors @ (inverse[:, None] * rotated) for inverse in inverses])
    norms = torch.stack([(inverse**2) @ rotated.square() for inverse in inverses])
    explained = [(2 * i - values * i**2) @ rotated.square() for i in inverses]
    centre = (first + mean) * problem.intercept
    path = Path(
        coefficients=weights,
        intercepts=offset - centre @ weights,
        norms=norms.sqrt(),
        residuals=(y.square().sum() - torch.stack(explained).sum(1)).clamp(min=0) / n,
        left_out=None,
        values=values[kept],
    )
    if not problem.leave_one_out:
        return path
    squares = torch.stack(inverses)
    left_out = torch.empty(len(weights), *y.shape, dtype=y.dtype)
    for rows, features in _rows(problem):
        found = features @ weights + path.intercepts[:, None]
        leverage = squares @ ((features - centre) @ vectors).square().mT + problem.intercept / n
        missed = (problem.targets[rows] - found) / (1 - leverage)[:, :, None]
        left_out[:, rows] = problem.targets[rows] - missed
    return replace(path, left_out=left_out)


def _centred(problem: Problem) -> tuple[Tensor, Tensor]:
    """Return the targets without their mean, and the mean; as they are without an intercept."""
    mean = problem.targets.mean(dim=0) * problem.intercept
    return problem.targets - mean, mean


def _columns(problem: Problem) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield blocks of columns without their means, and the means."""
    for block in problem.blocks(problem.inputs):
        block = block.to(problem.targets.dtype)
        mean = block.mean(dim=0) * problem.intercept
        yield block - mean, mean


def _rows(problem: Problem) -> Iterator[tuple[slice, Tensor]]:
    """Yield all features of some examples at a time."""
    for start in range(0, len(problem.inputs), ROWS):
        rows = slice(start, start + ROWS)
        found = torch.cat(list(problem.blocks(problem.inputs[rows])), dim=1)
        yield rows, found.to(problem.targets.dtype)


def _spectrum(gram: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return eigenvalues, none below 0, eigenvectors, and which values are not rounding."""
    values, vectors = torch.linalg.eigh(gram)
    values = values.clamp(min=0)
    return values, vectors, values > torch.finfo(gram.dtype).eps * size * values.max()


def _inverse(values: Tensor, kept: Tensor, ridge: float) -> Tensor:
    """Return 1 / (value + ridge), and 0 at ridge 0 for values that count as zero."""
    if ridge > 0:
        return 1 / (values + ridge)
    return torch.where(kept, 1 / values, 0.0)
