"""Extreme eigenvalues and eigenvectors, with residuals and multiplicities."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gengap._checks import check_count, check_positive
from gengap._streams import streams
from gengap.risk import Risk

from ._curvature import Curvature, as_curvature
from ._krylov import Krylov

_LEAST_CHECK = 3


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Eigenpairs:
    r"""Eigenpairs $H v_j = \lambda_j v_j$ of one end of a spectrum.

    Attributes:
        values: Eigenvalues, float64 [k]; descending for the top, ascending for the bottom.
        vectors: Unit eigenvectors in the columns, [p, k], in the risk's dtype.
        residuals: $\|H v_j - \lambda_j v_j\|$, float64 [k]: some eigenvalue lies within it.
        converged: Whether the residual is at most tolerance times the eigenvalue, bool [k].
        orthogonality: Largest inner product of two of the vectors.
        complete: Whether a fresh start was made at the end and found no further eigenvalue that
            belongs among these. Evidence, no proof: of 400 runs on a small network with close
            eigenvalues one skipped a value at the tolerance 1e-4, three at 1e-2. Another `seed`
            tells.
        products: Vectors multiplied.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    converged: Tensor
    orthogonality: float
    complete: bool
    products: int


def top_eigenpairs(
    target: Risk | Curvature,
    k: int = 5,
    *,
    tolerance: float = 1e-4,
    steps: int | None = None,
    basis: int | None = None,
    seed: int = 0,
) -> Eigenpairs:
    r"""Return the k algebraically largest eigenvalues and their eigenvectors.

    Lanczos with full reorthogonalization and thick restart. When all pairs have converged, a
    fresh random vector, orthogonal to everything seen, is followed until its largest Ritz value
    stays below the k-th eigenvalue: so copies of a multiple eigenvalue are found. Cost:
    some 30 to 60 products for the Hessian of a trained network, and `basis` vectors of memory.

    Args:
        target: A risk, for its Hessian, or a curvature.
        k: How many, at most p.
        tolerance: Residual at which a pair has converged, as a share of its eigenvalue (of a
            hundred roundings of the largest one, where that is more).
        steps: Most products; None is max(200, 20 k).
        basis: Vectors held at once; None is min(p, max(2 k + 6, 16)).
        seed: Of the random starts.

    Returns:
        The pairs, also those that have not converged: see `converged`.

    Raises:
        ValueError: k above p, a tolerance that is not positive, or what `hessian` refuses.

    Source:
        Wu and Simon (2000), thick restart; ours keeps the whole projection, so that residuals
        hold for the products as they were computed, and checks for missed copies.
    """
    return _extreme(
        as_curvature(target), k, 1.0, tolerance=tolerance, steps=steps, basis=basis, seed=seed
    )


def bottom_eigenpairs(
    target: Risk | Curvature,
    k: int = 5,
    *,
    tolerance: float = 1e-4,
    steps: int | None = None,
    basis: int | None = None,
    seed: int = 0,
) -> Eigenpairs:
    """Return the k algebraically smallest eigenvalues, negative ones first; as `top_eigenpairs`.

    Where there are fewer than k negative eigenvalues, the next ones of a large network lie in the
    bulk at zero: these converge slowly, or only in the sense of roundings.

    Args:
        target: A risk, for its Hessian, or a curvature.
        k: How many, at most p.
        tolerance: Residual at which a pair has converged, as a share of its eigenvalue.
        steps: Most products; None is max(200, 20 k).
        basis: Vectors held at once; None is min(p, max(2 k + 6, 16)).
        seed: Of the random starts.

    Returns:
        The pairs, ascending, also those that have not converged.
    """
    return _extreme(
        as_curvature(target), k, -1.0, tolerance=tolerance, steps=steps, basis=basis, seed=seed
    )


def _extreme(
    operator: Curvature,
    k: int,
    sign: float,
    *,
    tolerance: float,
    steps: int | None,
    basis: int | None,
    seed: int,
) -> Eigenpairs:
    p = operator.shape[0]
    check_count("k", k)
    if k > p:
        raise ValueError(f"`k` must be at most the number of parameters, {p}; got {k}.")
    check_positive("tolerance", tolerance)
    most = steps if steps is not None else max(200, 20 * k)
    check_count("steps", most)
    room = min(p, basis if basis is not None else max(2 * k + 6, 16))
    if room < min(p, k + 4):
        raise ValueError(f"`basis` must be at least k + 4 = {k + 4}; got {basis}.")
    before = operator.products
    krylov = Krylov(operator, room, streams(seed)("eigenpairs"), sign=sign)
    complete = _Search(krylov, operator, k, tolerance).run(before + most)
    return _result(krylov, k, sign, tolerance, complete, operator.products - before)


def _result(
    krylov: Krylov, k: int, sign: float, tolerance: float, complete: bool, products: int
) -> Eigenpairs:
    values, coordinates, residuals = (part[..., :k] for part in krylov.ritz())
    rows = krylov.vectors(coordinates)
    rows /= rows.norm(dim=1, keepdim=True)
    inner = (rows @ rows.T).double().cpu()
    return Eigenpairs(
        values=sign * values,
        vectors=rows.T,
        residuals=residuals,
        converged=_small(krylov, values, residuals, tolerance),
        orthogonality=float((inner - torch.eye(len(inner), dtype=torch.float64)).abs().max()),
        complete=complete,
        products=products,
    )


def _small(krylov: Krylov, values: Tensor, residuals: Tensor, tolerance: float) -> Tensor:
    return residuals <= (tolerance * values.abs()).clamp(min=krylov.rounding())


@final
class _Search:
    """Grows a basis until its k largest Ritz pairs have converged and no copy is missing."""

    def __init__(self, krylov: Krylov, operator: Curvature, k: int, tolerance: float) -> None:
        self._krylov, self._operator, self._k, self._tolerance = krylov, operator, k, tolerance

    def run(self, most: int) -> bool:
        """Multiply until all is found and checked, or `most` products; return whether checked."""
        krylov = self._krylov
        krylov.start()
        while self._operator.products < most:
            if krylov.exhausted:
                if krylov.spans_all:
                    return True
                self._make_room()
                krylov.start()
                continue
            open_pairs = self._open()
            if open_pairs is not None and not open_pairs.shape[1]:
                if krylov.spans_all or self._check(most):
                    return True
                continue
            self._make_room()
            self._step()
        return False

    def _step(self) -> None:
        open_pairs = self._open()  # coordinates change with a restart
        krylov = self._krylov
        krylov.step(None if open_pairs is None else krylov.most_coupled(open_pairs))

    def _open(self) -> Tensor | None:
        """Return the coordinates of wanted pairs that have not converged; None is too few yet."""
        krylov = self._krylov
        if krylov.multiplied < self._k:
            return None
        values, coordinates, residuals = (part[..., : self._k] for part in krylov.ritz())
        return coordinates[:, ~_small(krylov, values, residuals, self._tolerance)]

    def _make_room(self, wanted: int = 1) -> None:
        krylov = self._krylov
        if krylov.left >= wanted or krylov.spans_all:
            return
        values, coordinates, _ = krylov.ritz()
        kept = self._k + max(2, (len(values) - self._k) // 3)
        krylov.restart(coordinates[:, : min(kept, len(values) - 2)])

    def _check(self, most: int) -> bool:
        """Follow a fresh start until it cannot hold a missing pair; False where it may."""
        krylov = self._krylov
        self._make_room(_LEAST_CHECK + 2)
        first = krylov.start()
        for step in range(krylov.left):
            if self._operator.products >= most:
                return False
            ended = krylov.step() is None
            found = self._open()
            if found is None or found.shape[1]:
                return False
            bound = float(krylov.ritz()[0][self._k - 1])
            value, residual = krylov.chain(first)
            margin = max(self._tolerance * abs(bound), krylov.rounding())
            if ended or (step + 1 >= _LEAST_CHECK and value + residual <= bound + margin):
                return value + residual <= bound + margin
        return False
