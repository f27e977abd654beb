"""Bandwidths of Gaussian kernels, from the examples alone or with their labels."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gengap._checks import check_count, check_positive
from gengap._streams import streams

MULTIPLES = (0.5, 1.0, 2.0, 4.0, 8.0)
_JITTER = 1e-8


def median_bandwidth(inputs: Tensor, *, examples: int = 2000, seed: int = 0) -> float:
    r"""Return one over the median squared distance of examples, b in $e^{-b \|x - z\|^2}$.

    Args:
        inputs: [n, ...], taken flat.
        examples: Drawn, at most, for the pairs.
        seed: Of the draw.

    Raises:
        ValueError: More than half of the pairs are equal, so that the median is 0.
    """
    flat = _drawn(inputs, examples, seed)[0]
    squares = torch.pdist(flat).square()
    median = float(squares.median()) if len(squares) else 0.0
    if median <= 0:
        raise ValueError(
            "`inputs` must differ in at least half of their pairs for a median distance; got 0. "
            "Give a bandwidth."
        )
    return 1 / median


def leave_one_out_bandwidth(
    inputs: Tensor,
    labels: Tensor,
    *,
    multiples: Sequence[float] = MULTIPLES,
    examples: int = 1000,
    seed: int = 0,
) -> float:
    """Return the bandwidth with the least leave-one-out error, among multiples of the median one.

    Interpolants of a drawn part of the examples are compared, ridgeless up to rounding, by the
    closed form of their leave-one-out errors: wrong classes, then squared errors. More examples
    than were drawn want a somewhat larger bandwidth.

    Args:
        inputs: [n, ...], taken flat.
        labels: Class indices, [n].
        multiples: Of `median_bandwidth`. Positive; 0.5, 1, 2, 4 and 8 if not said.
        examples: Drawn, at most. At least 2.
        seed: Of the draw.

    Raises:
        ValueError: The median distance is 0, or a multiple is not positive.
    """
    check_count("examples", examples, least=2)
    for multiple in multiples:
        check_positive("multiples", multiple)
    unit = median_bandwidth(inputs, seed=seed)
    flat, chosen = _drawn(inputs, examples, seed)
    targets = torch.nn.functional.one_hot(labels[chosen.to(labels.device)]).to(flat)
    squares = torch.cdist(flat, flat).square()
    found = []
    for multiple in multiples:
        kernel = torch.exp(-multiple * unit * squares)
        kernel.diagonal().add_(_JITTER)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(kernel))
        missed = (inverse @ targets) / inverse.diagonal()[:, None]
        wrong = ((targets - missed).argmax(1) != targets.argmax(1)).double().mean()
        found.append((float(wrong), float(missed.square().mean()), multiple * unit))
    return min(found)[2]


def _drawn(inputs: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return some examples, flat and in float64, and which they are."""
    order = torch.randperm(len(inputs), generator=streams(seed)("bandwidth"))[:count]
    return inputs[order.to(inputs.device)].flatten(1).double(), order
