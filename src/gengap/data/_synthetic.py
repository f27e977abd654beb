"""Synthetic splits whose best possible error is known."""

from typing import Literal

import torch
from torch import Tensor

from gengap._checks import check_count, check_non_negative
from gengap._streams import streams

from ._split import Split


def gaussian_clusters(
    n: int,
    *,
    dim: int,
    num_classes: int = 2,
    separation: float,
    seed: int,
    half: Literal["train", "test"] = "train",
) -> Split:
    r"""Draw classes as unit Gaussians whose means are all equally far apart.

    The means are the corners of a regular simplex around the origin, turned at random; classes
    are balanced to within one example. The best possible classifier takes the nearest mean, and
    with separation $s$ its error is

    $$1 - \mathbb{E}_{z \sim \mathcal{N}(0, 1)} \big[ \Phi(z + s / \sqrt{2})^{c - 1} \big],$$

    for two classes $\Phi(-s / 2)$; at $s = 0$ it is $1 - 1 / c$.

    Args:
        n: Examples.
        dim: Features d, at least num_classes - 1.
        num_classes: Classes c, at least 2.
        separation: Distance between any two means, in standard deviations. At least 0.
        seed: Root of the draws. Both halves of one seed share their means.
        half: "train" or "test": two independent draws.

    Returns:
        A split of float32 [n, d] and labels.

    Examples:
        >>> gaussian_clusters(6, dim=2, num_classes=3, separation=4.0, seed=0).input_shape
        (2,)
    """
    check_count("n", n, least=1)
    check_count("num_classes", num_classes, least=2)
    check_count("dim", dim, least=num_classes - 1)
    check_non_negative("separation", separation)
    stream = streams(seed)
    means = separation * _simplex(num_classes, dim, stream("means"))
    order = torch.randperm(n, generator=stream(half, "labels"))
    labels = torch.arange(n)[order] % num_classes
    noise = torch.randn(n, dim, generator=stream(half, "inputs"), dtype=torch.float64)
    return Split(
        inputs=(means[labels] + noise).float(),
        targets=labels,
        num_classes=num_classes,
        half=half,
        name="gaussian-clusters",
    )


def _simplex(num_corners: int, dim: int, generator: torch.Generator) -> Tensor:
    """Return corners [c, d] around the origin, any two at distance 1, turned at random."""
    centred = torch.eye(num_corners, dtype=torch.float64) - 1 / num_corners
    basis = torch.linalg.svd(centred).Vh[:-1]  # [c - 1, c], spans the vectors that sum to 0
    gaussian = torch.randn(dim, num_corners - 1, generator=generator, dtype=torch.float64)
    turn = torch.linalg.qr(gaussian).Q  # [d, c - 1], orthonormal columns
    return centred @ basis.T @ turn.T / 2**0.5


def teacher_student(
    n: int,
    *,
    dim: int,
    hidden: int,
    noise: float = 0.0,
    seed: int,
    num_classes: int | None = None,
    half: Literal["train", "test"] = "train",
) -> Split:
    r"""Draw Gaussian inputs and let a random ReLU network, the teacher, give the targets.

    $$y = \frac{1}{\sqrt{h}} \sum_{i=1}^{h} a_i \max(0, \langle w_i, x \rangle)
    + \sigma \varepsilon$$

    with $x \sim \mathcal{N}(0, I_d)$, every $w_i$ uniform on the unit sphere, every $a_i$ a
    random sign and $\varepsilon \sim \mathcal{N}(0, 1)$. Over $x$, one unit has the mean
    $1/\sqrt{2\pi}$ and the second moment $1/2$; two units at angle $\theta$ have the product
    moment $(\sin\theta + (\pi - \theta)\cos\theta) / 2\pi$. The least possible mean squared error
    is $\sigma^2$.

    With `num_classes` the teacher has one output a class, each with its own noise and with
    standard normal $a_i$, and the label is the largest: without noise a student can be perfect.

    Args:
        n: Examples.
        dim: Features d.
        hidden: Units h of the teacher.
        noise: Standard deviation sigma of the noise on the teacher's outputs. At least 0.
        seed: Root of the draws. Both halves of one seed share their teacher.
        num_classes: Classes c, at least 2; None for real targets.
        half: "train" or "test": two independent draws.

    Returns:
        A split of float32 [n, d] and float32 targets [n, 1], or labels [n].

    Source:
        The product moment: Cho and Saul (2009), arc-cosine kernel of order 1.
    """
    check_count("n", n)
    check_count("dim", dim)
    check_count("hidden", hidden)
    check_non_negative("noise", noise)
    if num_classes is not None:
        check_count("num_classes", num_classes, least=2)
    stream = streams(seed)
    x = torch.randn(n, dim, generator=stream(half, "inputs"), dtype=torch.float64)
    weights, outer = _teacher(dim, hidden, num_classes, stream("teacher"))
    y = (x @ weights.T).relu() @ outer.T / hidden**0.5
    y += noise * torch.randn(y.shape, generator=stream(half, "noise"), dtype=torch.float64)
    return Split(
        inputs=x.float(),
        targets=y.float() if num_classes is None else y.argmax(1),
        num_classes=num_classes,
        half=half,
        name="teacher-student",
    )


def _teacher(
    dim: int, hidden: int, num_classes: int | None, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return first-layer rows of unit length [h, d], and signs [1, h] or normals [c, h]."""
    weights = torch.randn(hidden, dim, generator=generator, dtype=torch.float64)
    outer = torch.randn(num_classes or 1, hidden, generator=generator, dtype=torch.float64)
    rows = weights / weights.norm(dim=1, keepdim=True)
    return rows, torch.where(outer < 0, -1.0, 1.0).double() if num_classes is None else outer
