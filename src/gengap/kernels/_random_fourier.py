"""Random Fourier features: a Gaussian kernel's feature map, drawn at random."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gengap._checks import check_count, check_positive
from gengap._streams import streams

BLOCK = 512


@final
@dataclass(frozen=True, kw_only=True)
class RandomFourier:
    r"""Cosines of random projections, whose products estimate a Gaussian kernel.

    $$\phi_j(x) = \sqrt{2 / p} \cos(\omega_j^\top x + u_j), \quad \omega_j \sim N(0, 2 b I_d), \;
    u_j \sim U[0, 2\pi), \qquad E\, \phi(x)^\top \phi(z) = e^{-b \|x - z\|^2}$$

    The estimate of the kernel is unbiased, with a variance of at most 1 / p for every pair. A
    frequency depends on the seed and its place only: of the first p features of a larger bank
    only the scale differs.

    Attributes:
        num_features: p.
        bandwidth: b of the kernel, one over squared units of the inputs. Larger is narrower.
        seed: Of the frequencies and phases.

    Source:
        Rahimi and Recht (2007), Random features for large-scale kernel machines, algorithm 1.
    """

    num_features: int = 2048
    bandwidth: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        check_count("num_features", self.num_features)
        check_positive("bandwidth", self.bandwidth)

    def blocks(self, inputs: Tensor) -> Iterator[Tensor]:
        """Yield the features of inputs, [n, ...] taken flat, at most 512 columns at a time."""
        flat = inputs.flatten(1)
        for start in range(0, self.num_features, BLOCK):
            stream = streams(self.seed)("fourier", start // BLOCK)
            omega = torch.randn(BLOCK, flat.shape[1], generator=stream, dtype=torch.float64)
            phase = torch.rand(BLOCK, generator=stream, dtype=torch.float64) * 2 * math.pi
            kept = min(BLOCK, self.num_features - start)
            omega = math.sqrt(2 * self.bandwidth) * omega[:kept]
            angles = torch.addmm(phase[:kept].to(flat), flat, omega.to(flat).mT)
            yield angles.cos_().mul_(math.sqrt(2 / self.num_features))

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return all features of inputs, [n, p]."""
        return torch.cat(list(self.blocks(inputs)), dim=1)
