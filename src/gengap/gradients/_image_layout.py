"""In which order of the axes images lie in memory while gradients are taken."""

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
    """Return whether a network's convolutions are faster with the channels last, and it takes them.

    On a CPU in float32, where every convolution gives many channels and none is normalized:
    rules of norms are slower by what convolutions win. A network that asks for the order in
    memory, as `h.view(len(h), -1)` does, raises or gives other outputs.
    """
    layers = [m for m in risk.model.modules() if isinstance(m, nn.Conv2d)]
    wide = bool(layers) and all(m.out_channels >= _WIDE and m.groups == 1 for m in layers)
    plain = not any(isinstance(m, _NORMS) for m in risk.model.modules())
    shape = risk.split.input_shape
    images = len(shape) == 3 and shape[0] > 1  # of one channel both orders are the same
    here = risk.device.type == "cpu" and risk.dtype == torch.float32
    if not (wide and plain and images and here):
        return False
    x = risk.cast(risk.split.batch(torch.arange(min(2, risk.n)))[0])
    with torch.no_grad():
        usual = risk.model(x)
        try:
            found = risk.model(last(x))
        except RuntimeError:
            return False
    return bool(torch.allclose(found, usual, rtol=1e-3, atol=1e-3 * float(usual.abs().max())))


def last(x: Tensor) -> Tensor:
    """Return images with the channels last in memory."""
    return x.contiguous(memory_format=torch.channels_last)
