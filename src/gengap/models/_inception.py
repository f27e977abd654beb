"""The small Inception of the randomization test, with and without BatchNorm."""

from typing import final

import torch
from torch import Tensor, nn

from gengap._checks import check_probability

from ._initialization import initialize
from ._mean_pool import MeanPool
from ._same import SameConv2d, SameMaxPool2d
from ._shape import check_outputs, image_shape

_STAGES: tuple[tuple[tuple[int, int] | int, ...], ...] = (
    ((32, 32), (32, 48), 80),
    ((112, 48), (96, 64), (80, 80), (48, 96), 96),
    ((176, 160), (176, 160)),
)
"""Widths (1x1, 3x3) of the Inception modules, and one number for a downsampling module."""


@final
class ShiftBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm with a learned shift but no learned scale, as in TensorFlow slim."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=False, eps=1e-3, momentum=0.1)
        self.bias = nn.Parameter(torch.zeros(channels))


def _conv(inputs: int, outputs: int, kernel: int, *, stride: int, batch_norm: bool) -> nn.Module:
    """Build convolution, BatchNorm, ReLU; the convolution has a bias only without BatchNorm."""
    layers: list[nn.Module] = [
        SameConv2d(inputs, outputs, kernel, stride=stride, bias=not batch_norm)
    ]
    if batch_norm:
        layers.append(ShiftBatchNorm2d(outputs))
    return nn.Sequential(*layers, nn.ReLU())


@final
class _Branches(nn.Module):
    """Two ways in parallel, their channels one after the other."""

    def __init__(self, left: nn.Module, right: nn.Module) -> None:
        super().__init__()
        self.left, self.right = left, right

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.left(x), self.right(x)], dim=1)


def small_inception(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    batch_norm: bool = True,
    dropout: float = 0.0,
) -> nn.Module:
    """Build the small Inception: 1,649,402 parameters at 3 channels and 10 classes.

    A 3x3 convolution to 96 channels, eight Inception modules (1x1 beside 3x3), two downsampling
    modules (3x3 with stride 2 beside max-pooling), the mean over positions, a linear layer. Each
    convolution is followed by BatchNorm and ReLU. The count is the same with and without
    BatchNorm because a convolution's bias gives way to BatchNorm's shift, and BatchNorm has no
    scale. Its epsilon is slim's 0.001; the running statistics move by 0.1 a step (slim: 0.001),
    so that they are right after a hundred steps, also on small data. Weights start from Glorot's
    uniform initialization, slim's default, biases at zero. Without BatchNorm they start from
    He's: Glorot's shrink the signal at every one of 20 layers, and a trial had not left the loss
    of constant outputs after 190 steps. Its learning rate must then be small and rise slowly
    (0.005 over 150 steps, with momentum 0.9); at 0.01 a trial collapsed to constant outputs.

    Args:
        input_shape: (channels, height, width), sides of at least 4.
        num_classes: Outputs c.
        batch_norm: False gives the paper's "Inception without BatchNorm".
        dropout: Probability of dropping an input of the linear layer, in [0, 1].

    Source:
        Zhang et al. (2017), arXiv:1611.03530, figure 3 and appendix A. The conventions of
        BatchNorm are not in the paper. Ours are those of TensorFlow slim: of the conventions that
        give the paper's count, they give it for both networks from one piece of code.
    """
    channels, _, _ = image_shape(input_shape, model="small_inception", least=4)
    check_outputs(num_classes)
    check_probability("dropout", dropout)
    layers = [_conv(channels, 96, 3, stride=1, batch_norm=batch_norm)]
    width = 96
    for module in (module for stage in _STAGES for module in stage):
        if isinstance(module, tuple):
            one, three = module
            left = _conv(width, one, 1, stride=1, batch_norm=batch_norm)
            right = _conv(width, three, 3, stride=1, batch_norm=batch_norm)
            width = one + three
        else:
            left = _conv(width, module, 3, stride=2, batch_norm=batch_norm)
            right = SameMaxPool2d(3, stride=2)
            width += module
        layers.append(_Branches(left, right))
    model = nn.Sequential(*layers, MeanPool(), nn.Dropout(dropout), nn.Linear(width, num_classes))
    initialize(model, "glorot" if batch_norm else "he")
    return model
