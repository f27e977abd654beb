"""Convolutional networks that shrink an image at chosen depths, with the same parameters."""

from collections.abc import Sequence

from torch import nn

from gengap._checks import check_count, check_probability

from ._initialization import initialize
from ._mean_pool import MeanPool
from ._shape import check_outputs, image_shape


def pyramid(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    width: int = 16,
    depth: int = 6,
    pool_after: Sequence[int] = (2, 4, 6),
    dropout: float = 0.0,
) -> nn.Module:
    """Build a network whose feature space shrinks fast, slowly or late at one parameter count.

    `depth` 3x3 convolutions to `width` channels, each with ReLU, 2x2 max-pooling after some of
    them, the mean over positions, a linear layer: 11,930 parameters at 1x28x28 and 10 classes,
    wherever the pooling is. He's normal initialization.

    Args:
        input_shape: (channels, height, width).
        num_classes: Outputs c.
        width: Channels of every convolution.
        depth: Convolutions.
        pool_after: Convolutions, counted from 1, that are followed by max-pooling: (1, 2, 3)
            shrinks fast, (2, 4, 6) slowly, (4, 5, 6) late.
        dropout: Probability of dropping an input of the linear layer, in [0, 1].

    Source:
        After Haloi (2017), arXiv:1706.01983, who compares fast and slow reduction of feature
        space in larger networks.
    """
    places = tuple(pool_after)
    channels, _, _ = image_shape(input_shape, model="pyramid", least=2 ** len(places))
    check_outputs(num_classes)
    check_count("width", width)
    check_count("depth", depth)
    check_probability("dropout", dropout)
    if list(places) != sorted(set(places)) or not set(places) <= set(range(1, depth + 1)):
        raise ValueError(
            f"`pool_after` must be rising numbers from 1 to the depth of {depth}; got {places!r}."
        )
    layers: list[nn.Module] = []
    for place in range(1, depth + 1):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
        channels = width
        if place in places:
            layers.append(nn.MaxPool2d(2))
    model = nn.Sequential(*layers, MeanPool(), nn.Dropout(dropout), nn.Linear(width, num_classes))
    initialize(model)
    return model
