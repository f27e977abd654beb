"""The residual networks made for CIFAR-10."""

from typing import final

from torch import Tensor, nn
from torch.nn import functional as F

from gengap._checks import check_count, check_probability

from ._initialization import initialize
from ._mean_pool import MeanPool
from ._shape import check_outputs, image_shape


@final
class _Block(nn.Module):
    """Two convolutions beside a shortcut without parameters."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.stride, self.new_channels = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        residual = self.residual(x)
        if self.stride > 1:
            x = x[..., :: self.stride, :: self.stride]
        if self.new_channels:
            before = self.new_channels // 2
            x = F.pad(x, (0, 0, 0, 0, before, self.new_channels - before))
        return F.relu(x + residual)


def resnet(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    depth: int = 20,
    width: int = 16,
    dropout: float = 0.0,
) -> nn.Module:
    """Build a CIFAR ResNet with shortcuts of type A: 269,722 parameters at depth 20, 10 classes.

    A 3x3 convolution, three stages of (depth - 2) / 6 blocks with width, 2 width and 4 width
    channels, the second and third starting with stride 2; where the shape changes, the shortcut
    takes every second position and fills new channels with zeros. He's normal initialization.

    Args:
        input_shape: (channels, height, width), sides of at least 4.
        num_classes: Outputs c.
        depth: Layers with weights, 6 k + 2.
        width: Channels of the first stage.
        dropout: Probability of dropping an input of the linear layer, in [0, 1].

    Source:
        He, Zhang, Ren and Sun (2016), arXiv:1512.03385, section 4.2.
    """
    channels, _, _ = image_shape(input_shape, model="resnet", least=4)
    check_outputs(num_classes)
    check_count("width", width)
    check_count("depth", depth, least=8)
    check_probability("dropout", dropout)
    if (depth - 2) % 6:
        raise ValueError(f"`depth` must be 6 k + 2, as in 20, 32, 44, 56 or 110; got {depth}.")
    layers: list[nn.Module] = [
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    ]
    inputs = width
    for stage in range(3):
        for block in range((depth - 2) // 6):
            outputs = width * 2**stage
            layers.append(_Block(inputs, outputs, stride=2 if stage and not block else 1))
            inputs = outputs
    model = nn.Sequential(*layers, MeanPool(), nn.Dropout(dropout), nn.Linear(inputs, num_classes))
    initialize(model)
    return model
