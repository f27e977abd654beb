"""A Krylov basis grown one product at a time, and the Ritz pairs in it."""

from typing import final

import torch
from torch import Tensor

from ._curvature import Curvature


@final
class Krylov:
    """Orthonormal vectors, what is known of their products, and the Ritz pairs that follow.

    Every product is orthogonalized against the whole basis (twice where once is not enough), so
    that no eigenvalue shows up again by loss of orthogonality. What is left of a product is a
    new vector, *pending* until it is multiplied itself; the products' coefficients on pending
    vectors are the residuals of the Ritz pairs, without further products. One start gives the
    method of Lanczos, a fresh start beside the first one finds further copies of an eigenvalue.

    Attributes:
        size: Vectors in the basis, pending ones included.
    """

    def __init__(
        self,
        operator: Curvature,
        capacity: int,
        generator: torch.Generator,
        *,
        sign: float = 1.0,
    ) -> None:
        """Allocate room for `capacity` vectors; none is in it yet. `sign` times the operator."""
        p = operator.shape[0]
        self._operator, self._generator, self._sign = operator, generator, sign
        self._basis = torch.empty(capacity, p, dtype=operator.dtype, device=operator.device)
        self._known = torch.zeros(capacity, capacity, dtype=torch.float64)
        self._done: list[int] = []
        self._pending: list[int] = []
        self.size = 0

    @property
    def left(self) -> int:
        """Vectors that there is still room for."""
        return len(self._basis) - self.size

    @property
    def multiplied(self) -> int:
        """Vectors whose product is known."""
        return len(self._done)

    @property
    def exhausted(self) -> bool:
        """Whether there is nothing left to multiply."""
        return not self._pending

    @property
    def spans_all(self) -> bool:
        """Whether the basis is one of the whole space."""
        return self.size >= self._basis.shape[1]

    def start(self, vector: Tensor | None = None) -> int:
        """Append a vector, random by default, made orthogonal to the basis; return its index."""
        if vector is None:
            p = self._basis.shape[1]
            vector = torch.randn(p, generator=self._generator, dtype=torch.float64)
        w = vector.to(self._basis, copy=True)
        w /= w.norm()
        for _ in range(3):
            w -= (self._basis[: self.size] @ w) @ self._basis[: self.size]
            w /= w.norm()
        return self._append(w)

    def step(self, index: int | None = None) -> int | None:
        """Multiply a pending vector, the last one by default; return the index of what is new."""
        j = self._pending[-1] if index is None else index
        self._pending.remove(j)
        q = self._basis[: self.size]
        w = self._operator.rows(q[j : j + 1])[0].to(q.dtype).mul_(self._sign)
        whole = float(w.norm())
        h = self._known[j, : self.size].clone()
        h[j] = float(q[j] @ w)
        near = h.nonzero()[:, 0].to(q.device)
        w -= h[near.cpu()].to(w) @ q[near] if len(near) < self.size else h.to(w) @ q
        for _ in range(3):
            before = float(w.norm())
            more = q @ w
            w -= more @ q
            h += more.double().cpu()
            left = float(w.norm())
            if left > 0.5 * before:
                break
        self._known[: self.size, j] = h
        self._done.append(j)
        if left <= self.rounding(whole) or self.spans_all:
            return None
        self._known[self.size, j] = left
        return self._append(w / left)

    def ritz(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return Ritz values descending [m], their coordinates [m, m], residual norms [m]."""
        block = self._known[self._done][:, self._done]
        symmetric = (block + block.T) / 2
        values, coordinates = torch.linalg.eigh(symmetric)
        coordinates = coordinates.flip(1)
        outside = self._known[self._pending][:, self._done] @ coordinates
        skew = (block - symmetric) @ coordinates
        residuals = (outside.square().sum(0) + skew.square().sum(0)).sqrt()
        return values.flip(0), coordinates, residuals

    def chain(self, first: int) -> tuple[float, float]:
        """Return the largest Ritz value among the vectors from `first` on, and its residual."""
        mine = [j for j in self._done if j >= first]
        block = self._known[mine][:, mine]
        values, coordinates = torch.linalg.eigh((block + block.T) / 2)
        waiting = [j for j in self._pending if j >= first]
        return float(values[-1]), float((self._known[waiting][:, mine] @ coordinates[:, -1]).norm())

    def most_coupled(self, coordinates: Tensor) -> int:
        """Return the pending vector that weighs most in the residuals of given Ritz vectors."""
        weights = (self._known[self._pending][:, self._done] @ coordinates).norm(dim=1)
        return self._pending[int(weights.argmax())]

    def vectors(self, coordinates: Tensor) -> Tensor:
        """Return the vectors of given coordinates [m, k] as rows [k, p]."""
        full = torch.zeros(self.size, coordinates.shape[1], dtype=torch.float64)
        full[self._done] = coordinates
        return full.T.to(self._basis) @ self._basis[: self.size]

    def restart(self, coordinates: Tensor) -> None:
        """Keep the span of given Ritz vectors [m, k] and the pending vectors only."""
        block = coordinates.T @ self._known[self._done][:, self._done] @ coordinates
        outside = self._known[self._pending][:, self._done] @ coordinates
        k, waiting = coordinates.shape[1], len(self._pending)
        full = torch.zeros(self.size, k + waiting, dtype=torch.float64)
        full[self._done, :k] = coordinates
        full[self._pending, range(k, k + waiting)] = 1
        change = full.T.to(self._basis)
        for start in range(0, self._basis.shape[1], 1 << 16):
            part = self._basis[: self.size, start : start + (1 << 16)]
            self._basis[: k + waiting, start : start + (1 << 16)] = change @ part
        self._known.zero_()
        self._known[:k, :k] = block
        self._known[k : k + waiting, :k] = outside
        self._done, self._pending = list(range(k)), list(range(k, k + waiting))
        self.size = k + waiting

    def _append(self, w: Tensor) -> int:
        self._basis[self.size] = w
        self._pending.append(self.size)
        self.size += 1
        return self.size - 1

    def rounding(self, least: float = 0.0) -> float:
        """Return a hundred roundings of the largest number met."""
        scale = max(least, float(self._known.abs().max()))
        return 100 * torch.finfo(self._basis.dtype).eps * scale
