"""Convolutions of one, two and three dimensions, transposed ones too."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor
from torch.nn import functional as F

from ._part import DensePart, Part, SequencePart, gram_is_cheaper
from ._row_sums import row_dots, squared_row_norms
from ._rule import Kept, Layout, Rule

_LEAST_AT_ONCE, _MOST_AT_ONCE, _ENTRIES_AT_ONCE = 8, 64, 2**20
"""Examples whose gradients are there at once, and the entries that these should not exceed."""
_LANES = 16
"""Channels in one vector; with fewer, or with others left over, a processor's kernels are slow."""

_backward = torch.ops.aten.convolution_backward.default


@final
@dataclass(frozen=True, kw_only=True)
class ConvolutionRule(Rule):
    """A convolution with symmetric zero padding.

    Attributes:
        stride: Steps along each dimension.
        padding: Zeros before and after, along each dimension.
        dilation: Distance of neighbours in the kernel.
        transposed: Whether it is the transpose of a convolution.
        output_padding: Added to the size of a transposed one's output.
        groups: Groups of channels that do not mix.
    """

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool = False
    output_padding: tuple[int, ...]
    groups: int = 1

    def forward(self, x: Tensor, *params: Tensor | None) -> tuple[Tensor, Kept]:
        """Convolve [b, c, ...] with weight and bias."""
        weight, bias = params
        assert weight is not None
        output = torch.convolution(
            x,
            weight,
            bias,
            self.stride,
            self.padding,
            self.dilation,
            self.transposed,
            self.output_padding,
            self.groups,
        )
        return output, ()

    def differentiate(
        self, delta: Tensor, x: Tensor, weight: Tensor, groups: int, *, of_input: bool
    ) -> Tensor:
        """Return the gradient of the input, or that of the weight."""
        found: tuple[Tensor, Tensor, Tensor] = _backward(
            delta,
            x,
            weight,
            None,
            self.stride,
            self.padding,
            self.dilation,
            self.transposed,
            self.output_padding,
            groups,
            [of_input, not of_input, False],
        )
        return found[0] if of_input else found[1]

    def backward(
        self,
        delta: Tensor,
        x: Tensor,
        params: tuple[Tensor | None, ...],
        kept: Kept,
        *,
        layout: Layout,
        wanted: tuple[bool, ...],
    ) -> tuple[Tensor | None, tuple[Part | None, ...]]:
        """Differentiate by the input; leave the weight to its part."""
        weight, _ = params
        assert weight is not None
        x, weight = x.to(delta.dtype), weight.to(delta.dtype)
        back = None
        if wanted[0]:
            back = self.differentiate(delta, x, weight, self.groups, of_input=True)
        bias = None
        if wanted[2]:
            maps = layout.rows(delta.flatten(2).sum(2))
            bias = DensePart(maps.sum(1) if maps.ndim == 3 else maps)
        part = self._part(delta, x, weight, layout) if wanted[1] else None
        return back, (part, bias)

    def _part(self, delta: Tensor, x: Tensor, weight: Tensor, layout: Layout) -> Part:
        examples = layout.examples or len(x)
        positions = delta.shape[2:].numel() * (len(x) // examples)
        width = weight[0].numel()
        plain = self.groups == 1 and not self.transposed
        if plain and gram_is_cheaper(positions, width, len(weight)):
            patches, deltas = self._patches(x, weight), delta.flatten(2).mT
            inputs, deltas = (layout.rows(t) for t in (patches, deltas))
            if inputs.ndim == 4:
                inputs, deltas = inputs.flatten(1, 2), deltas.flatten(1, 2)
            return SequencePart(inputs, deltas, weight.shape)
        x, delta = layout.in_order(x), layout.in_order(delta)
        return ConvolutionPart(self, x, delta, weight.shape, len(x) // examples)

    def _patches(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return what the kernel sees at each position, [b, positions, c k ...]."""
        sides = [side for side in reversed(self.padding) for _ in range(2)]
        x = F.pad(x, sides)
        kernel = weight.shape[2:]
        dims = range(len(kernel))
        for i in dims:
            x = x.unfold(2 + i, self.dilation[i] * (kernel[i] - 1) + 1, self.stride[i])
        for i in dims:
            x = x.movedim(x.ndim - len(dims), 0)[:: self.dilation[i]].movedim(0, -1)
        order = (0, *(2 + i for i in dims), 1, *(2 + len(dims) + i for i in dims))
        patches = x.permute(order)
        return patches.reshape(len(x), -1, weight[0].numel())


@final
class ConvolutionPart(Part):
    """Gradients of a convolution's weight: one grouped convolution for a few dozen examples.

    Norms and sum come from the same products, of which only one chunk is kept at a time. On the
    CPU, images of less than 16 channels get more: the rows that the kernel sees, one above the
    other, whose kernel is one row high. That takes about half the time.
    """

    def __init__(
        self, rule: ConvolutionRule, x: Tensor, delta: Tensor, shape: torch.Size, repeats: int
    ) -> None:
        """Take inputs and output gradients of b examples, `repeats` rows each."""
        self.rule, self.x, self.delta = rule, x, delta
        self.shape, self.repeats, self.dtype = shape, repeats, delta.dtype

    def chunks(self) -> Iterator[Tensor]:
        """Yield the gradients [chunk, *shape] of a few examples after the other."""
        count = min(max(_LEAST_AT_ONCE, _ENTRIES_AT_ONCE // self.shape.numel()), _MOST_AT_ONCE)
        examples = len(self.x) // self.repeats
        pieces = -(-examples // max(1, count // self.repeats))
        rows = -(-examples // pieces) * self.repeats
        few = self.x.ndim == 4 and self.x.shape[1] < _LANES and self.x.device.type == "cpu"
        folded = few and self.rule.groups == 1 and not self.rule.transposed
        for x, delta in zip(self.x.split(rows), self.delta.split(rows), strict=True):
            grads = (_folded if folded else _grouped)(self.rule, x, delta, self.shape)
            if self.repeats > 1:
                grads = grads.unflatten(0, (-1, self.repeats)).sum(1)
            yield grads

    @cached_property
    def _norms_and_sum(self) -> tuple[Tensor, Tensor]:
        norms, total = [], None
        for grads in self.chunks():
            norms.append(squared_row_norms(grads.flatten(1)))
            part = grads.sum(0)
            total = part if total is None else total.add_(part)
        assert total is not None
        return torch.cat(norms), total

    def wide(self, chosen: Tensor | slice) -> "ConvolutionPart":
        """Take inputs and output gradients."""
        rows = chosen if isinstance(chosen, slice) else chosen.repeat_interleave(self.repeats)
        x, delta = self.x[rows].double(), self.delta[rows].double()
        return ConvolutionPart(self.rule, x, delta, self.shape, self.repeats)

    def _squared_norms(self) -> Tensor:
        """Sum squares of every row, a chunk at a time."""
        return self._norms_and_sum[0]

    def sum(self) -> Tensor:
        """Sum the rows, a chunk at a time."""
        return self._norms_and_sum[1].clone()

    def sum_of_squares(self) -> Tensor:
        """Sum the squares of every entry, a chunk at a time."""
        total = self.x.new_zeros(self.shape, dtype=torch.float64)
        for grads in self.chunks():
            total += grads.double().square().sum(0)
        return total

    def dense(self) -> Tensor:
        """Return all gradients, [b, *shape]."""
        return torch.cat(list(self.chunks()))

    def dots(self, direction: Tensor) -> Tensor:
        """Convolve with the direction in the weight's place."""
        weight = direction.to(self.x.dtype)
        applied, _ = self.rule.forward(self.x, weight, None)
        rows = row_dots(applied.flatten(1), self.delta.flatten(1))
        return rows if self.repeats == 1 else rows.unflatten(0, (-1, self.repeats)).sum(1)


def _grouped(rule: ConvolutionRule, x: Tensor, delta: Tensor, shape: torch.Size) -> Tensor:
    """Return the gradients [b, *shape]; the examples are groups of one convolution."""
    b = len(x)
    weight = x.new_empty(1).expand(b * shape[0], *shape[1:])
    wide_x = x.reshape(1, b * x.shape[1], *x.shape[2:])
    wide_delta = delta.reshape(1, b * delta.shape[1], *delta.shape[2:])
    grads = rule.differentiate(wide_delta, wide_x, weight, b * rule.groups, of_input=False)
    return grads.view(b, *shape)


def _folded(rule: ConvolutionRule, x: Tensor, delta: Tensor, shape: torch.Size) -> Tensor:
    """Return the same for an image of few channels: those of r rows are taken for r times more."""
    (b, c, _, width), (o, _, height, breadth) = x.shape, shape
    (step, stride), (above, beside), (apart, dilation) = rule.stride, rule.padding, rule.dilation
    x = F.pad(x, (0, 0, above, above))
    channels = -(-c * height // _LANES) * _LANES
    rows = x.new_zeros(b, channels, delta.shape[2], width)
    for i in range(height):
        last = i * apart + step * (delta.shape[2] - 1)
        rows[:, i * c : (i + 1) * c] = x[:, :, i * apart : last + 1 : step]
    flat = ConvolutionRule(
        stride=(1, stride), padding=(0, beside), dilation=(1, dilation), output_padding=(0, 0)
    )
    grads = _grouped(flat, rows, delta, torch.Size((o, channels, 1, breadth)))
    return grads[:, :, : c * height].view(b, o, height, c, breadth).transpose(2, 3).contiguous()
