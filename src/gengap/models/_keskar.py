"""The networks of Keskar et al. on large batches and sharp minima: F1, F2 and C1 to C4."""

from torch import nn

from gengap._checks import check_probability

from ._initialization import initialize
from ._mlp import mlp
from ._same import SameConv2d, SameMaxPool2d
from ._shape import check_outputs, image_shape

_DEEP_BLOCKS = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)


def keskar_f1(input_shape: tuple[int, ...], num_classes: int, *, dropout: float = 0.0) -> nn.Module:
    """Build F1: five hidden layers of 512 with BatchNorm and ReLU.

    1,462,794 parameters at 784 inputs and 10 classes, the paper's MNIST.

    Args:
        input_shape: Shape of one example; any.
        num_classes: Outputs c.
        dropout: Probability of dropping an input of a layer after the first, in [0, 1].

    Source:
        Keskar et al. (2017), arXiv:1609.04836, appendix B.
    """
    return mlp(input_shape, num_classes, hidden=(512,) * 5, dropout=dropout, batch_norm=True)


def keskar_f2(input_shape: tuple[int, ...], num_classes: int, *, dropout: float = 0.0) -> nn.Module:
    """Build F2: seven hidden layers of 512 with BatchNorm and ReLU.

    2,780,085 parameters at 360 inputs and 1973 classes, the paper's TIMIT.

    Args:
        input_shape: Shape of one example; any.
        num_classes: Outputs c.
        dropout: Probability of dropping an input of a layer after the first, in [0, 1].

    Source:
        Keskar et al. (2017), arXiv:1609.04836, appendix B.
    """
    return mlp(input_shape, num_classes, hidden=(512,) * 7, dropout=dropout, batch_norm=True)


def keskar_c1(
    input_shape: tuple[int, ...], num_classes: int, *, dropout: float | None = None
) -> nn.Module:
    """Build C1, the shallow convolutional network: 1,757,834 parameters at 3x32x32, 10 classes.

    Twice (convolution 5x5 to 64 channels, BatchNorm, ReLU, max-pooling 3x3 with stride 2), then
    linear layers to 384 and 192, each with BatchNorm, ReLU and dropout, and to the classes. He's
    normal initialization.

    Args:
        input_shape: (channels, height, width), sides of at least 4.
        num_classes: Outputs c.
        dropout: Probability of dropping an input of the last two layers; None means the
            paper's 0.5. The randomization test wants 0.

    Source:
        Keskar et al. (2017), arXiv:1609.04836, appendix B, and the authors' code.
    """
    channels, height, width = image_shape(input_shape, model="keskar_c1", least=4)
    check_outputs(num_classes)
    rate = _rate(dropout, 0.5)
    layers: list[nn.Module] = []
    for inputs in (channels, 64):
        layers += [*_conv(inputs, 64, 5), SameMaxPool2d(3, stride=2)]
    layers.append(nn.Flatten())
    features = 64 * -(-height // 4) * -(-width // 4)
    for inputs, outputs in ((features, 384), (384, 192)):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
        layers.append(nn.Dropout(rate))
    model = nn.Sequential(*layers, nn.Linear(192, num_classes))
    initialize(model)
    return model


def keskar_c2(
    input_shape: tuple[int, ...], num_classes: int, *, dropout: float | None = None
) -> nn.Module:
    """Build C2, the deep convolutional network: 14,991,946 parameters at 3x32x32, 10 classes.

    Thirteen 3x3 convolutions as in VGG-16, each with BatchNorm and ReLU, in five blocks that end
    in 2x2 max-pooling, then linear layers to 512 (BatchNorm, ReLU) and to the classes. Pooling
    rounds sizes up, so that sides below 32 work too. He's normal initialization.

    Args:
        input_shape: (channels, height, width), sides of at least 4.
        num_classes: Outputs c.
        dropout: Probability for every dropout layer; None means the paper's: 0.3 and 0.4 between
            the convolutions of the first and the later blocks, 0.5 before linear layers. The
            randomization test wants 0.

    Source:
        Keskar et al. (2017), arXiv:1609.04836, appendix B, and the authors' code.
    """
    channels, height, width = image_shape(input_shape, model="keskar_c2", least=4)
    check_outputs(num_classes)
    layers: list[nn.Module] = []
    inputs = channels
    for index, block in enumerate(_DEEP_BLOCKS):
        for position, outputs in enumerate(block):
            layers += _conv(inputs, outputs, 3)
            if position < len(block) - 1:
                layers.append(nn.Dropout(_rate(dropout, 0.4 if index else 0.3)))
            inputs = outputs
        layers.append(SameMaxPool2d(2, stride=2))
    features = 512 * -(-height // 32) * -(-width // 32)
    layers += [nn.Flatten(), nn.Dropout(_rate(dropout, 0.5)), nn.Linear(features, 512)]
    layers += [nn.BatchNorm1d(512), nn.ReLU(), nn.Dropout(_rate(dropout, 0.5))]
    model = nn.Sequential(*layers, nn.Linear(512, num_classes))
    initialize(model)
    return model


def keskar_c3(
    input_shape: tuple[int, ...], num_classes: int, *, dropout: float | None = None
) -> nn.Module:
    """Build C3: C1 as the paper uses it on CIFAR-100, 1,775,204 parameters at 100 classes."""
    return keskar_c1(input_shape, num_classes, dropout=dropout)


def keskar_c4(
    input_shape: tuple[int, ...], num_classes: int, *, dropout: float | None = None
) -> nn.Module:
    """Build C4: C2 as the paper uses it on CIFAR-100, 15,038,116 parameters at 100 classes."""
    return keskar_c2(input_shape, num_classes, dropout=dropout)


def _conv(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
    return [SameConv2d(inputs, outputs, kernel), nn.BatchNorm2d(outputs), nn.ReLU()]


def _rate(dropout: float | None, paper: float) -> float:
    if dropout is None:
        return paper
    check_probability("dropout", dropout)
    return dropout
