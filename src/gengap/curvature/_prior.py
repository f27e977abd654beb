"""Gaussian priors over parameters, by their precision."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gengap._checks import check_positive

Precision = float | Mapping[str, float | Tensor] | Tensor
"""One number; a number or a tensor a parameter; or a symmetric matrix [p, p]."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Prior:
    r"""A Gaussian with mean zero: its negative logarithm is half of $w^T \Lambda w$, and constants.

    Attributes:
        scalar: The precision, where it is one number for all.
        diagonal: The diagonal of Lambda, float64 [p], or None.
        matrix: Lambda, float64 [p, p], or None.
        p: Number of parameters.
    """

    scalar: float | None
    diagonal: Tensor | None
    matrix: Tensor | None
    p: int

    @classmethod
    def of(cls, precision: Precision, shapes: Mapping[str, torch.Size], device: object) -> "Prior":
        """Take a precision for parameters of these shapes.

        Raises:
            ValueError: It is not positive (definite), or does not fit the parameters.
        """
        p = sum(shape.numel() for shape in shapes.values())
        place = {"dtype": torch.float64, "device": torch.device(str(device))}
        if isinstance(precision, Mapping):
            diagonal = torch.cat(_parts(precision, shapes)).to(**place)  # type: ignore[call-overload]
            return cls(scalar=None, diagonal=diagonal, matrix=None, p=p)
        if isinstance(precision, Tensor) and precision.ndim:
            matrix = precision.to(**place)  # type: ignore[call-overload]
            if matrix.shape != (p, p) or not torch.allclose(matrix, matrix.T):
                raise ValueError(
                    f"`precision` must be a symmetric matrix of shape ({p}, {p}); got shape "
                    f"{tuple(matrix.shape)}."
                )
            if int(torch.linalg.cholesky_ex(matrix).info):
                raise ValueError("`precision` must be positive definite; got a matrix that is not.")
            return cls(scalar=None, diagonal=None, matrix=matrix, p=p)
        check_positive("precision", float(precision))
        one = float(precision)
        return cls(scalar=one, diagonal=torch.full((p,), one, **place), matrix=None, p=p)  # type: ignore[call-overload]

    def times(self, vector: Tensor) -> Tensor:
        """Return Lambda times a vector [p]."""
        return self.matrix @ vector if self.matrix is not None else self.own * vector

    def penalty(self, vector: Tensor) -> float:
        """Return half the prior's quadratic form, in nats."""
        return 0.5 * float(vector @ self.times(vector))

    def add_to(self, matrix: Tensor) -> Tensor:
        """Return a matrix [p, p] plus Lambda."""
        return matrix + (self.matrix if self.matrix is not None else self.own.diag())

    @property
    def own(self) -> Tensor:
        """The diagonal, where there is one."""
        assert self.diagonal is not None
        return self.diagonal

    @property
    def log_determinant(self) -> float:
        """Logarithm of the determinant of Lambda."""
        if self.matrix is not None:
            return float(torch.linalg.slogdet(self.matrix).logabsdet)
        return float(self.own.log().sum())


def _parts(
    precision: Mapping[str, float | Tensor], shapes: Mapping[str, torch.Size]
) -> list[Tensor]:
    if set(precision) != set(shapes):
        raise ValueError(
            f"`precision` must have one entry a parameter, {', '.join(shapes)}; got "
            f"{', '.join(precision)}."
        )
    parts = []
    for name, shape in shapes.items():
        part = torch.as_tensor(precision[name], dtype=torch.float64).cpu()
        if part.ndim and part.shape != shape:
            raise ValueError(
                f"`precision` of {name!r} must be a number or have shape {tuple(shape)}; got "
                f"{tuple(part.shape)}."
            )
        if not bool((part > 0).all()) or not bool(part.isfinite().all()):
            raise ValueError(f"`precision` of {name!r} must be positive and finite; got {part}.")
        parts.append(part.expand(shape).reshape(-1))
    return parts
