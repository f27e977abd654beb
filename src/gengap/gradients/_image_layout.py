"""In which order, of passes and of the axes of images in memory, gradients are had sooner."""

import torch
from torch import Tensor, nn

from gengap.risk import Risk

_NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)
_WIDE = 32


def faster_last(risk: Risk) -> bool:
    """Return whether a backward pass by our rules is faster with the channels last.

    Where every convolution gives many channels and none is normalized: rules of norms are slower
    by what convolutions win.
    """
    return _is_wide_and_plain(_convolutions(risk), risk) and takes_last(risk)


def faster_forward(risk: Risk) -> bool:
    """Return whether inner products are had sooner in forward mode than in a backward pass.

    Measured on CPUs in float32: in all convolutional networks but those of `faster_last`.
    """
    layers = _convolutions(risk)
    return bool(layers) and not _is_wide_and_plain(layers, risk)


def takes_last(risk: Risk) -> bool:
    """Return whether a network takes images with the channels last.

    One that asks for the order in memory, as `h.view(len(h), -1)` does, raises or gives other
    outputs. Of images of one channel both orders are the same.
    """
    shape = risk.split.input_shape
    if len(shape) != 3 or shape[0] == 1:
        return False
    x = risk.cast(risk.split.batch(torch.arange(min(2, risk.n)))[0])
    with torch.no_grad():
        usual = risk.model(x)
        try:
            found = risk.model(last(x))
        except Exception:  # whatever a network says of an order that it does not take
            return False
    return bool(torch.allclose(found, usual, rtol=1e-3, atol=1e-3 * float(usual.abs().max())))


def _convolutions(risk: Risk) -> list[nn.Conv2d]:
    """Return the convolutions of images on a CPU in float32; elsewhere nothing was measured."""
    if risk.device.type != "cpu" or risk.dtype != torch.float32:
        return []
    return [m for m in risk.model.modules() if isinstance(m, nn.Conv2d)]


def _is_wide_and_plain(layers: list[nn.Conv2d], risk: Risk) -> bool:
    wide = bool(layers) and all(m.out_channels >= _WIDE and m.groups == 1 for m in layers)
    return wide and not any(isinstance(m, _NORMS) for m in risk.model.modules())


def last(x: Tensor) -> Tensor:
    """Return images with the channels last in memory."""
    return x.contiguous(memory_format=torch.channels_last)
