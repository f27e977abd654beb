"""A deep perceptron of one width, with shortcuts or without."""

from typing import final

from torch import Tensor, nn

from gengap._checks import check_count, check_probability

from ._initialization import initialize
from ._shape import check_outputs, num_features


@final
class _Layer(nn.Module):
    """ReLU of a linear layer, added to its input or not."""

    def __init__(self, width: int, *, shortcut: bool, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, width)
        self.relu = nn.ReLU()
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.relu(self.linear(self.dropout(x)))
        return x + h if self.shortcut else h

    def extra_repr(self) -> str:
        return f"shortcut={self.shortcut}"


def residual_mlp(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    width: int = 64,
    depth: int = 6,
    shortcuts: bool = True,
    dropout: float = 0.0,
) -> nn.Module:
    """Build a perceptron of `depth` hidden layers of one width, for comparing shortcuts.

    The first hidden layer is linear and ReLU; each of the others is h + ReLU(W h + b), or, without
    shortcuts, ReLU(W h + b): the same parameters. He's normal initialization.

    Args:
        input_shape: Shape of one example; any.
        num_classes: Outputs c.
        width: Of every hidden layer.
        depth: Hidden layers, at least 1.
        shortcuts: Whether layers are added to their inputs.
        dropout: Probability of dropping an input of a hidden layer but the first, in [0, 1].
    """
    check_outputs(num_classes)
    check_count("width", width)
    check_count("depth", depth)
    check_probability("dropout", dropout)
    layers = [_Layer(width, shortcut=shortcuts, dropout=dropout) for _ in range(depth - 1)]
    first = [nn.Flatten(), nn.Linear(num_features(input_shape), width), nn.ReLU()]
    model = nn.Sequential(*first, *layers, nn.Linear(width, num_classes))
    initialize(model)
    return model
