"""Losses that do not see the size of the logits."""

from torch import Tensor

from gengap.risk import Loss

_LEAST = 1e-10


def of_normalized_logits(loss: Loss) -> Loss:
    """Return a loss of the outputs with their mean taken away and scaled to length 1.

    A network can lower its loss, and with it most sharpnesses, by larger logits alone; after
    normalization it cannot.

    Source:
        Andriushchenko et al. (2023), arXiv:2302.07011, after Tsuzuku et al. (2020).
    """

    def normalized(outputs: Tensor, targets: Tensor) -> Tensor:
        centred = outputs - outputs.mean(-1, keepdim=True)
        return loss(centred / centred.norm(dim=-1, keepdim=True).clamp(min=_LEAST), targets)

    return normalized
