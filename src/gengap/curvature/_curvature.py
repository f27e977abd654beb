"""Second derivatives of a mean loss as one symmetric operator."""

import copy
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal, TypeVar, final

import numpy as np
import torch
from torch import Tensor

from gengap._checks import check_choice, check_positive
from gengap.risk import Risk

from ._chunk_products import Build, empirical_fisher_of, gauss_newton_of, hessian_of
from ._preconditions import check_ready
from ._products import DEFAULT_MEMORY, Products

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

Kind = Literal["hessian", "gauss_newton", "empirical_fisher"]
Vectors = TypeVar("Vectors", Tensor, "np.ndarray")

_BUILD: dict[Kind, Build] = {
    "hessian": hessian_of,
    "gauss_newton": gauss_newton_of,
    "empirical_fisher": empirical_fisher_of,
}


@final
class Curvature:
    r"""A symmetric matrix [p, p] of second derivatives of the mean loss, known by its products.

    Products are computed in the risk's dtype, chunk by chunk, and added in float64; a chunk
    counts by its number of examples. Cost: a product takes about one forward and backward pass
    of a multi-layer perceptron and 2.5 of a convolutional network where the graph of the
    gradient is kept, and one or two passes more where it is not.

    Attributes:
        risk: The risk whose mean loss is differentiated, at its own point.
        kind: "hessian", "gauss_newton" or "empirical_fisher".
        names: Parameters of the block, in the model's order; given as None, all.
        memory: Bytes of graphs kept from one product to the next; 1 GiB if not said.
        products: Vectors multiplied so far.
    """

    def __init__(
        self,
        risk: Risk,
        *,
        kind: Kind = "hessian",
        names: Iterable[str] | None = None,
        memory: int = DEFAULT_MEMORY,
    ) -> None:
        """Check the risk and the names; nothing is multiplied yet."""
        check_choice("kind", kind, _BUILD)
        if memory:
            check_positive("memory", memory)
        self.risk, self.kind, self.memory = risk, kind, memory
        check_ready(risk)
        self.names = _chosen(risk, names)
        self._sizes = [risk.params[name].shape for name in self.names]
        self._multiply = Products(risk, self.names, _BUILD[kind], memory)
        self.products = 0

    def __repr__(self) -> str:
        return f"Curvature(kind={self.kind!r}, shape={self.shape}, products={self.products})"

    @property
    def shape(self) -> tuple[int, int]:
        """(p, p)."""
        p = sum(size.numel() for size in self._sizes)
        return p, p

    @property
    def dtype(self) -> torch.dtype:
        """The risk's dtype."""
        return self.risk.dtype

    @property
    def device(self) -> torch.device:
        """The risk's device."""
        return self.risk.device

    @property
    def example_bytes(self) -> float:
        """Bytes that the graph of an example's gradient takes."""
        return self._multiply.example_bytes

    def on(self, risk: Risk, *, memory: int | None = None) -> "Curvature":
        """Return the same kind and block for other examples, counting its own products."""
        other = copy.copy(self)
        other.risk, other.products = risk, 0
        other.memory = self.memory if memory is None else memory
        other._multiply = self._multiply.on(risk, other.memory)
        return other

    def rows(self, vectors: Tensor) -> Tensor:
        """Return the products of the rows [k, p] as float64 rows [k, p]."""
        if vectors.ndim != 2 or vectors.shape[1] != self.shape[0]:
            raise ValueError(
                f"`vectors` must have {self.shape[0]} entries each; got shape "
                f"{tuple(vectors.shape)}."
            )
        self.products += len(vectors)
        return self._multiply(vectors.to(self.device, self.dtype).contiguous())

    def forms(self, vectors: Tensor) -> Tensor:
        """Return v' H v of the rows [k, p] as float64 [k], each counted as a product."""
        self.products += len(vectors)
        return self._multiply.forms(vectors.to(self.device, self.dtype).contiguous())

    def __matmul__(self, vectors: Vectors) -> Vectors:
        """Return the product with a vector [p] or a block [p, k], in its type and dtype."""
        if isinstance(vectors, np.ndarray):
            found = self @ torch.from_numpy(np.ascontiguousarray(vectors))
            return found.numpy()
        if vectors.ndim not in (1, 2) or len(vectors) != self.shape[0]:
            raise ValueError(
                f"`vectors` must have shape ({self.shape[0]},) or ({self.shape[0]}, k); got "
                f"{tuple(vectors.shape)}."
            )
        found = self.rows(vectors.reshape(len(vectors), -1).T)
        return found.T.reshape(vectors.shape).to(vectors)

    def dense(self) -> Tensor:
        """Return the matrix itself, float64 [p, p], symmetrized; costs p products."""
        p = self.shape[0]
        found = torch.empty(p, p, dtype=torch.float64, device=self.device)
        for start in range(0, p, 64):
            unit = torch.zeros(min(64, p - start), p, dtype=self.dtype, device=self.device)
            unit[:, start:].fill_diagonal_(1)
            found[start : start + 64] = self.rows(unit)
        return (found + found.T) / 2

    def scipy(self) -> "LinearOperator":
        """Return a scipy.sparse.linalg.LinearOperator of float64 vectors."""
        from scipy.sparse.linalg import LinearOperator

        return LinearOperator(
            self.shape,
            matvec=lambda v: self @ np.asarray(v, dtype=np.float64).reshape(-1),
            rmatvec=lambda v: self @ np.asarray(v, dtype=np.float64).reshape(-1),
            matmat=lambda v: self @ np.asarray(v, dtype=np.float64),
            dtype=np.dtype("float64"),
        )

    def flatten(self, values: Mapping[str, Tensor]) -> Tensor:
        """Return the block's tensors as one vector [p], in the order of `names`."""
        return torch.cat([values[name].reshape(-1) for name in self.names])

    def unflatten(self, vector: Tensor) -> dict[str, Tensor]:
        """Return a vector [p] as tensors by name, views of it."""
        parts = vector.split([size.numel() for size in self._sizes])
        return {n: v.view(s) for n, v, s in zip(self.names, parts, self._sizes, strict=True)}


def as_curvature(target: "Risk | Curvature") -> Curvature:
    """Return the operator itself, or the Hessian of a risk."""
    return target if isinstance(target, Curvature) else Curvature(target)


def _chosen(risk: Risk, names: Iterable[str] | None) -> tuple[str, ...]:
    known = risk.params
    wanted = set(known) if names is None else {names} if isinstance(names, str) else set(names)
    if not wanted or not wanted <= set(known):
        wrong = sorted(wanted - set(known))
        raise ValueError(
            f"`names` must be trainable parameters of the model, at least one; got {wrong}. "
            f"They are {', '.join(known)}."
        )
    return tuple(name for name in known if name in wanted)
