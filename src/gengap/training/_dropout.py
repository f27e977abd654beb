"""Dropout that draws from a given generator, one lane at a time or stacked."""

import torch
from torch import Tensor, nn

from gengap.data import Part

from ._own_calls import calls_its_class

_KINDS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


class SeededDropout(nn.Module):
    """A stand-in for `nn.Dropout` and its channel-wise kin that never uses the global generator.

    Draws one uniform an element (a channel for the channel-wise kinds) from `generator`, or takes
    a `mask` drawn beforehand, which is how a stack of lanes gets a mask a lane.
    """

    def __init__(self, p: float, *, channels: bool) -> None:
        super().__init__()
        self.p = p
        self.channels = channels
        self.generator: torch.Generator | None = None
        self.part: Part | None = None
        self.mask: Tensor | None
        self.register_buffer("mask", None, persistent=False)

    def draw(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """Return a mask [b, ...] of 0 and 1 / (1 - p) for inputs of `shape` [b, ...].

        Of a part of a batch, as it is in the mask of the whole batch.
        """
        part = self.part or Part(start=0, stop=shape[0], whole=shape[0])
        rows, rest = divmod(shape[0], max(1, part.size))  # many a example where time is folded in
        if rest:
            rows, part = 1, Part(start=0, stop=shape[0], whole=shape[0])
        size = (*shape[:2], *([1] * (len(shape) - 2))) if self.channels else tuple(shape)
        drawn = torch.rand((rows * part.whole, *size[1:]), generator=generator)
        kept = drawn.narrow(0, rows * part.start, shape[0]) >= self.p
        return kept.float() / (1 - self.p) if self.p < 1 else kept.float() * 0

    def forward(self, x: Tensor) -> Tensor:
        """Return x times a mask while training, x itself otherwise."""
        if not self.training or self.p == 0:
            return x
        if self.mask is not None:
            return x * self.mask
        if self.generator is None:
            return x
        return x * self.draw(x.shape, self.generator).to(x)


def seed_dropout(model: nn.Module, probability: float | None) -> list[SeededDropout]:
    """Swap every dropout layer of `model`, in place, and set its probability.

    One with hooks or a `forward` of its own stays: it draws from the global generator, which
    programs seed.

    Args:
        model: A network that the caller owns.
        probability: Probability for all layers, or None to keep each its own.

    Returns:
        The layers that drop anything, in the order of `model.modules()`.

    Raises:
        ValueError: A probability is asked of a model without dropout layers.
    """
    swapped: dict[int, SeededDropout] = {}
    own = [m for m in model.modules() if isinstance(m, _KINDS) and not _is_plain(m)]
    for layer in own:
        layer.p = layer.p if probability is None else probability
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):  # a layer may come twice
            if isinstance(child, _KINDS) and _is_plain(child):
                p = child.p if probability is None else probability
                kin = SeededDropout(p, channels=not isinstance(child, nn.Dropout))
                setattr(parent, name, swapped.setdefault(id(child), kin))
    layers = list(swapped.values())
    if probability and not (layers or own):
        raise ValueError(
            f"`dropout` must be None for a model without dropout layers; got {probability!r}. "
            "Give the model an `nn.Dropout`."
        )
    return [layer for layer in layers if layer.p > 0]


def _is_plain(layer: nn.Module) -> bool:
    """Return whether a dropout layer computes as PyTorch's do, and nothing else."""
    kind = next(kind for kind in _KINDS if isinstance(layer, kind))
    return type(layer).forward is kind.forward and calls_its_class(layer)
