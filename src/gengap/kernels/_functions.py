"""Kernels of two blocks of examples: the matrix of all pairs."""

import math

import torch
from torch import Tensor

from gengap._checks import check_choice
from gengap._linear import linear as product


def gaussian(x: Tensor, z: Tensor, bandwidth: float) -> Tensor:
    r"""Return $\exp(-b \|x_i - z_j\|_2^2)$, b being `bandwidth`, as Zhang et al. write it.

    The distance is $\|x\|^2 + \|z\|^2 - 2 x^\top z$: centre both blocks by the same vector first,
    or the three terms cancel.

    Args:
        x: Examples, [a, d].
        z: Examples, [b, d].
        bandwidth: b, one over squared units of the inputs. Larger is narrower.

    Returns:
        The kernel, [a, b], in [0, 1], in the dtype of the blocks.
    """
    return _negative_squared_distances(x, z, bandwidth).exp_()


def laplace(x: Tensor, z: Tensor, bandwidth: float) -> Tensor:
    r"""Return $\exp(-b \|x_i - z_j\|_2)$: of the Euclidean distance, not of the city blocks.

    Args:
        x: Examples, [a, d].
        z: Examples, [b, d].
        bandwidth: b, one over units of the inputs. Larger is narrower.

    Returns:
        The kernel, [a, b], in [0, 1].
    """
    return _negative_squared_distances(x, z, 1.0).neg_().sqrt_().mul_(-bandwidth).exp_()


def polynomial(x: Tensor, z: Tensor, scale: float, degree: int, offset: float) -> Tensor:
    r"""Return $(s\, x_i^\top z_j + c)^p$, with s the `scale`, p the `degree`, c the `offset`.

    Args:
        x: Examples, [a, d].
        z: Examples, [b, d].
        scale: s, one over squared units of the inputs.
        degree: p, a whole number of at least 1.
        offset: c, at least 0, without units.

    Returns:
        The kernel, [a, b].
    """
    return linear(x, z).mul_(scale).add_(offset).pow_(degree)


def arc_cosine(x: Tensor, z: Tensor, degree: int) -> Tensor:
    r"""Return $\frac{1}{\pi} \|x_i\|^p \|z_j\|^p J_p(\theta_{ij})$, the kernel of wide networks.

    $J_0 = \pi - \theta$ for a layer of steps; $J_1 = \sin\theta + (\pi - \theta)\cos\theta$ for
    one of ReLUs, both with infinitely many random weights; theta is the angle of the pair.

    Args:
        x: Examples, [a, d].
        z: Examples, [b, d].
        degree: p, 0 or 1.

    Returns:
        The kernel, [a, b], in units of the inputs to the power 2 p.

    Source:
        Cho and Saul (2009), equations 3 to 6.
    """
    check_choice("degree", degree, (0, 1))
    lengths_x, lengths_z = x.norm(dim=1), z.norm(dim=1)
    tiny = torch.finfo(x.dtype).tiny
    cosine = linear(x, z)
    cosine.div_(lengths_x.clamp(min=tiny)[:, None]).div_(lengths_z.clamp(min=tiny)).clamp_(-1, 1)
    angle = torch.acos(cosine)
    if degree == 0:
        return angle.neg_().add_(math.pi).div_(math.pi)
    sine = (1 - cosine * cosine).sqrt_()
    found = cosine.mul_(math.pi - angle).add_(sine).div_(math.pi)
    return found.mul_(lengths_x[:, None]).mul_(lengths_z)


def linear(x: Tensor, z: Tensor) -> Tensor:
    r"""Return $x_i^\top z_j$.

    Of n examples with d features its rank is d at most: with n > d nothing interpolates.

    Args:
        x: Examples, [a, d].
        z: Examples, [b, d].

    Returns:
        The kernel, [a, b], in squared units of the inputs.
    """
    return product(x, z)


def _negative_squared_distances(x: Tensor, z: Tensor, scale: float) -> Tensor:
    """Return -scale ||x_i - z_j||^2, never above 0."""
    squares_x, squares_z = (
        torch.linalg.vector_norm(b, dim=1).square_().mul_(-scale) for b in (x, z)
    )
    return product(x, 2 * scale * z, squares_z).add_(squares_x[:, None]).clamp_(max=0)
