"""The small AlexNet of the randomization test."""

from torch import nn

from gengap._checks import check_probability

from ._initialization import initialize
from ._local_response_norm import LocalResponseNorm
from ._same import SameConv2d, SameMaxPool2d
from ._shape import check_outputs, image_shape


def small_alexnet(
    input_shape: tuple[int, ...], num_classes: int, *, dropout: float = 0.0
) -> nn.Module:
    """Build the small AlexNet: 1,387,786 parameters at 3x28x28 and 10 classes.

    Twice (convolution 5x5 to 64 channels, ReLU, max-pooling 3x3 with stride 2, local response
    normalization), then linear layers to 384, 192 and the classes. ReLU is taken after pooling,
    which gives the same numbers for a quarter of the work. The normalization is
    TensorFlow's with depth radius 4, bias 1, alpha 0.001 / 9 and beta 0.75; PyTorch divides alpha
    by the size of the window, so there it is size 9 and alpha 0.001. Because of it the network is
    not homogeneous in its weights. Weights start from He's normal initialization, biases at zero:
    it trains at the paper's learning rate of 0.01 with momentum 0.9.

    Args:
        input_shape: (channels, height, width), sides of at least 4.
        num_classes: Outputs c.
        dropout: Probability of dropping an input of a linear layer, in [0, 1].

    Source:
        Zhang et al. (2017), arXiv:1611.03530, appendix A. Widths, padding and the constants of
        the normalization are not in the paper: 64 and 64 channels with SAME padding are the only
        common widths that give its parameter count; the constants are those of TensorFlow's
        CIFAR-10 tutorial, which has the same widths.
    """
    channels, height, width = image_shape(input_shape, model="small_alexnet", least=4)
    check_outputs(num_classes)
    check_probability("dropout", dropout)
    layers: list[nn.Module] = []
    for inputs in (channels, 64):
        layers += [
            SameConv2d(inputs, 64, 5),
            SameMaxPool2d(3, stride=2),
            nn.ReLU(),
            LocalResponseNorm(9, alpha=0.001, beta=0.75, k=1.0),
        ]
    features = 64 * -(-height // 4) * -(-width // 4)
    model = nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(features, 384),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(384, 192),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(192, num_classes),
    )
    initialize(model)
    return model
