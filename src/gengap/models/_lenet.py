"""LeNet-5, in its modern form."""

from torch import nn

from gengap._checks import check_probability

from ._initialization import initialize
from ._shape import check_outputs, image_shape


def lenet(input_shape: tuple[int, ...], num_classes: int, *, dropout: float = 0.0) -> nn.Module:
    """Build LeNet-5 with ReLU and max-pooling: 61,706 parameters at 1x28x28 and 10 classes.

    Convolutions 5x5 to 6 (padded by 2) and to 16 channels (not padded), each followed by 2x2
    max-pooling, then linear layers to 120, 84 and the classes. He's normal initialization.

    Args:
        input_shape: (channels, height, width), sides of at least 12.
        num_classes: Outputs c.
        dropout: Probability of dropping an input of a linear layer, in [0, 1].

    Source:
        LeCun, Bottou, Bengio and Haffner (1998), "Gradient-based learning applied to document
        recognition". The original has sigmoids, trained subsampling, partly connected channels
        and radial outputs.
    """
    channels, height, width = image_shape(input_shape, model="lenet", least=12)
    check_outputs(num_classes)
    check_probability("dropout", dropout)
    features = 16 * ((height // 2 - 4) // 2) * ((width // 2 - 4) // 2)
    model = nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(features, 120),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(84, num_classes),
    )
    initialize(model)
    return model
