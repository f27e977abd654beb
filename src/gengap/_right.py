"""When an example is right."""

from torch import Tensor


def is_right(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return whether the largest output is the label's, [...] of outputs [..., c].

    Where an output is NaN, or the largest is infinite, none is: PyTorch's `argmax` would name one.
    Where losses are at hand these tell it without another pass: they are NaN there.
    """
    return (outputs.argmax(-1) == targets) & outputs.amax(-1).isfinite()
