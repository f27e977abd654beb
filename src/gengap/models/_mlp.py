"""The linear model and the multilayer perceptron."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from gengap._checks import check_count, check_probability

from ._initialization import initialize
from ._shape import check_outputs, num_features


def linear(input_shape: tuple[int, ...], num_classes: int, *, dropout: float = 0.0) -> nn.Module:
    """Build a linear model with a bias on flattened examples: d c + c parameters.

    Args:
        input_shape: Shape of one example; any.
        num_classes: Outputs c.
        dropout: Probability of dropping an input, in [0, 1].
    """
    return mlp(input_shape, num_classes, hidden=(), dropout=dropout)


def mlp(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    hidden: Sequence[int] = (512,),
    dropout: float = 0.0,
    batch_norm: bool = False,
) -> nn.Module:
    """Build a multilayer perceptron with ReLU on flattened examples.

    At 3x28x28 and 10 classes it has 1,209,866 parameters with one hidden layer of 512 and
    1,735,178 with three. Weights start from He's normal initialization, biases at zero: it trains
    at the papers' learning rate of 0.01 with momentum 0.9 on standardized images.

    Args:
        input_shape: Shape of one example; any.
        num_classes: Outputs c.
        hidden: Width of each hidden layer; none makes the model linear.
        dropout: Probability of dropping an input of a layer that follows the first, in [0, 1].
        batch_norm: Put BatchNorm (with scale and shift) before every ReLU.

    Source:
        Zhang et al. (2017), arXiv:1611.03530, appendix A. The paper does not state the
        initialization.
    """
    check_outputs(num_classes)
    check_probability("dropout", dropout)
    if isinstance(hidden, (int, float, str)):
        raise TypeError(f"`hidden` must be a list of widths, such as [512]; got {hidden!r}.")
    widths = [num_features(input_shape), *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for width_in, width_out in pairwise(widths):
        check_count("hidden", width_out)
        layers.append(nn.Linear(width_in, width_out))
        if batch_norm:
            layers.append(nn.BatchNorm1d(width_out))
        layers += [nn.ReLU(), nn.Dropout(dropout)]
    if not hidden:
        layers.append(nn.Dropout(dropout))
    model = nn.Sequential(*layers, nn.Linear(widths[-1], num_classes))
    initialize(model)
    return model
