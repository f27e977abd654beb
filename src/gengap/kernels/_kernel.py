"""A kernel by name with its parameters, or the caller's own, as one function of two blocks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gengap._checks import check_choice, check_count, check_non_negative, check_positive

from ._functions import arc_cosine, gaussian, laplace, linear, polynomial

Pairwise = Callable[[Tensor, Tensor], Tensor]
KERNELS = ("gaussian", "laplace", "polynomial", "arc_cosine", "linear")
_OF_DISTANCES = ("gaussian", "laplace")


@final
@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A function of two blocks of examples, [a, d] and [b, d], to [a, b].

    `centred` says that it depends on differences of examples only, so that subtracting one vector
    from all of them changes nothing but the rounding.
    """

    pairwise: Pairwise
    centred: bool

    def __call__(self, x: Tensor, z: Tensor) -> Tensor:
        """Return the kernel of all pairs, checked to be as large as it has to be."""
        found = torch.as_tensor(self.pairwise(x, z))
        if found.shape != (len(x), len(z)):
            raise ValueError(
                f"`kernel` must return a matrix of {len(x)} rows and {len(z)} columns for that "
                f"many examples; got shape {tuple(found.shape)}."
            )
        return found.to(x)


def as_kernel(kernel: str | Pairwise, *, bandwidth: float, degree: int, offset: float) -> Kernel:
    """Return the kernel that a name or a callable stands for, its parameters checked."""
    if callable(kernel):
        return Kernel(pairwise=kernel, centred=False)
    check_choice("kernel", kernel, KERNELS)
    if kernel in {"gaussian", "laplace", "polynomial"}:
        check_positive("bandwidth", bandwidth)
    if kernel == "polynomial":
        check_count("degree", degree)
        check_non_negative("offset", offset)
    named: dict[str, Pairwise] = {
        "gaussian": lambda x, z: gaussian(x, z, bandwidth),
        "laplace": lambda x, z: laplace(x, z, bandwidth),
        "polynomial": lambda x, z: polynomial(x, z, bandwidth, degree, offset),
        "arc_cosine": lambda x, z: arc_cosine(x, z, degree),
        "linear": linear,
    }
    return Kernel(pairwise=named[kernel], centred=kernel in _OF_DISTANCES)


def check_symmetric(kernel: Kernel, x: Tensor) -> None:
    """Refuse a kernel that is not symmetric on the first examples.

    Raises:
        ValueError: k(x_i, x_j) and k(x_j, x_i) differ by more than rounding.
    """
    block = kernel(x[:64], x[:64])
    apart = float((block - block.T).abs().max())
    if apart > 1e4 * torch.finfo(block.dtype).eps * float(block.abs().max()):
        raise ValueError(
            f"`kernel` must be symmetric; got values for a pair and for the pair turned round "
            f"that are up to {apart:.3g} apart. Average the two."
        )
