"""The mean over all positions of an image."""

from typing import final

from torch import Tensor, nn


@final
class MeanPool(nn.Module):
    """The mean over all positions: [b, channels, height, width] becomes [b, channels]."""

    def forward(self, x: Tensor) -> Tensor:
        """Average over height and width."""
        return x.mean(dim=(-2, -1))
