"""Convolution and pooling with TensorFlow's SAME padding: size n becomes ceil(n / stride)."""

from typing import final

from torch import Tensor, nn
from torch.nn import functional as F


def same_padding(size: int, *, kernel: int, stride: int) -> tuple[int, int]:
    """Return the padding before and after; where it is odd, the larger half comes after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _padded(x: Tensor, *, kernel: int, stride: int, value: float) -> Tensor:
    rows = same_padding(x.shape[-2], kernel=kernel, stride=stride)
    columns = same_padding(x.shape[-1], kernel=kernel, stride=stride)
    return F.pad(x, (*columns, *rows), value=value)


@final
class SameConv2d(nn.Conv2d):
    """A convolution with SAME padding: zeros, for stride 2 on even sides right and below only."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, bias: bool = True
    ) -> None:
        symmetric = stride == 1 and kernel % 2 == 1
        padding = kernel // 2 if symmetric else 0
        super().__init__(inputs, outputs, kernel, stride=stride, padding=padding, bias=bias)
        self.symmetric = symmetric

    def forward(self, x: Tensor) -> Tensor:
        """Convolve [b, inputs, height, width]."""
        if not self.symmetric:
            x = _padded(x, kernel=self.kernel_size[0], stride=self.stride[0], value=0.0)
        return super().forward(x)


@final
class SameMaxPool2d(nn.Module):
    """Max pooling with SAME padding; the padding never wins."""

    def __init__(self, kernel: int, *, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def extra_repr(self) -> str:
        """Describe kernel and stride."""
        return f"kernel={self.kernel}, stride={self.stride}"

    def forward(self, x: Tensor) -> Tensor:
        """Pool [b, channels, height, width]."""
        if self.kernel == 3 and self.stride == 2 and x.shape[-2] % 2 == x.shape[-1] % 2 == 0:
            return F.max_pool2d(x, 3, 2, ceil_mode=True)  # the same padding, without a copy
        x = _padded(x, kernel=self.kernel, stride=self.stride, value=float("-inf"))
        return F.max_pool2d(x, self.kernel, self.stride)
