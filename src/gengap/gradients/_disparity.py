"""How far apart the gradients of two batches are."""

import itertools

import torch

from gengap._checks import check_count
from gengap._streams import streams
from gengap.risk import Risk


def gradient_disparity(
    risk: Risk, *, batch_size: int, num_batches: int = 5, seed: int = 0
) -> float:
    r"""Return the mean distance of the mean gradients of two batches, $\|G_k - G_l\|_2$.

    Over all pairs of disjoint batches drawn at random; in units of the gradient, at least 0. It
    rises when a network begins to fit what its examples do not share, and is read as a signal to
    stop. With $\operatorname{tr} \Sigma$ the variance of the examples' gradients (divided by
    n - 1), its square is at most $2 \operatorname{tr} \Sigma / b$ on average.

    Cost: `num_batches` gradients, held at once.

    Args:
        risk: Model, loss and examples.
        batch_size: Examples in a batch, b.
        num_batches: Batches to compare; the paper takes 5.
        seed: Where the draw of the batches comes from.

    Raises:
        ValueError: The split has too few examples.

    Source:
        Forouzesh and Thiran (2021), arXiv:2107.06665; the plain definition, with no scaling of
        the losses.
    """
    batch_size = check_count("batch_size", batch_size)
    check_count("num_batches", num_batches, least=2)
    if batch_size * num_batches > risk.n:
        raise ValueError(
            f"`batch_size` times `num_batches` must be at most the {risk.n} examples; got "
            f"{batch_size} times {num_batches}."
        )
    order = torch.randperm(risk.n, generator=streams(seed)("disparity"))
    chosen = order[: batch_size * num_batches].view(num_batches, batch_size)
    gradients = [risk[rows].gradient() for rows in chosen]
    distances = [
        sum(float((a[name] - b[name]).square().sum()) for name in a) ** 0.5
        for a, b in itertools.combinations(gradients, 2)
    ]
    return sum(distances) / len(distances)
