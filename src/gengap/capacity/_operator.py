"""The linear map of a layer as it acts on a whole example: a convolution is not its kernel."""

import math
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, svds
from torch import Tensor, nn

from gengap._functional import functional_call
from gengap._plain_weights import with_plain_weights

_DENSE = 1 << 22
_TOLERANCE = 1e-8


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Operator:
    """The linear map of a Linear or Conv2d layer on examples of one shape, in float64.

    Attributes:
        layer: The layer, without parametrization.
        weight: Its weight, with BatchNorm folded in.
        bias: Its bias, with BatchNorm folded in, [outputs or channels]; None without any.
        input_shape: Of one example.
        output_shape: Of one example.
    """

    layer: nn.Module
    weight: Tensor
    bias: Tensor | None
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    @property
    def positions(self) -> int:
        """Positions at which the weights are used: height times width, 1 for a Linear layer."""
        return math.prod(self.output_shape[1:]) if self.weight.ndim == 4 else 1

    @property
    def units(self) -> int:
        """Numbers that it gives for an example."""
        return math.prod(self.output_shape)

    @property
    def inputs(self) -> int:
        """Numbers that it takes of an example."""
        return math.prod(self.input_shape)

    def with_weight(self, weight: Tensor) -> "Operator":
        """Return the map with another weight and no bias."""
        return replace(self, weight=weight, bias=None)

    def normalized(self, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> "Operator":
        """Return the map with a BatchNorm behind it that uses its running statistics."""
        mean, variance = norm.running_mean, norm.running_var
        if not (isinstance(mean, Tensor) and isinstance(variance, Tensor)):
            raise ValueError("`model` must have BatchNorm with running statistics; got none.")
        factor = (variance.double() + norm.eps).rsqrt()
        if norm.weight is not None:
            factor = factor * norm.weight.detach().double()
        bias = torch.zeros_like(factor) if self.bias is None else self.bias
        bias = (bias - mean.double()) * factor
        if norm.bias is not None:
            bias = bias + norm.bias.detach().double()
        shape = (-1, *([1] * (self.weight.ndim - 1)))
        return replace(self, weight=self.weight * factor.view(shape), bias=bias)

    def apply(self, x: Tensor, *, weight: Tensor | None = None) -> Tensor:
        """Return the map, or that of another weight, of examples [b, ...]; without the bias."""
        values = {"weight": self.weight if weight is None else weight}
        if isinstance(self.layer.bias, Tensor):
            values["bias"] = torch.zeros_like(self.layer.bias, dtype=x.dtype)
        return functional_call(self.layer, values, (x,))

    def full_bias(self) -> Tensor:
        """Return the bias of every unit, [units]."""
        if self.bias is None:
            return torch.zeros(self.units, dtype=torch.float64)
        return self.bias.repeat_interleave(self.positions)

    def row_sums(self, power: int) -> Tensor:
        """Return the sum of |weight|^power over what each unit takes, edges counted, [units]."""
        ones = torch.ones(1, *self.input_shape, dtype=torch.float64)
        return self.apply(ones, weight=self.weight.abs() ** power).flatten()

    def spectral_norm(self, *, augmented: bool = False, last: bool = False) -> float:
        """Return the largest singular value of the map.

        Args:
            augmented: Take the map of (x, 1) to (W x + b, 1), or to W x + b for the last layer.
            last: Whether it is the last layer.
        """
        inputs = self.inputs + augmented
        outputs = self.units + (augmented and not last)
        if self.weight.ndim == 2 and inputs * outputs <= _DENSE:
            return float(torch.linalg.matrix_norm(self._dense(augmented, last), ord=2))
        if min(inputs, outputs) == 1:
            row = self.row_sums(2).sum() + (self.full_bias().square().sum() if augmented else 0)
            return float(row) ** 0.5
        return self._iterated(inputs, outputs, augmented, last)

    def _dense(self, augmented: bool, last: bool) -> Tensor:
        if not augmented:
            return self.weight
        rows = torch.cat([self.weight, self.full_bias()[:, None]], 1)
        if last:
            return rows
        constant = torch.zeros(1, rows.shape[1], dtype=torch.float64)
        constant[0, -1] = 1
        return torch.cat([rows, constant])

    def _iterated(self, inputs: int, outputs: int, augmented: bool, last: bool) -> float:
        """Return the norm by Lanczos, from a start that is the same every time."""
        bias = self.full_bias()

        def forward(v: np.ndarray) -> np.ndarray:
            x = torch.from_numpy(np.ascontiguousarray(v.reshape(-1), dtype=np.float64))
            y = self.apply(x[: self.inputs].view(1, *self.input_shape)).flatten()
            if augmented:
                y = y + bias * x[-1]
                y = y if last else torch.cat([y, x[-1:]])
            return y.numpy()

        def backward(v: np.ndarray) -> np.ndarray:
            u = torch.from_numpy(np.ascontiguousarray(v.reshape(-1), dtype=np.float64))
            rows = u[: self.units].view(1, *self.output_shape)
            x = torch.zeros(1, *self.input_shape, dtype=torch.float64, requires_grad=True)
            with torch.enable_grad():
                (found,) = torch.autograd.grad(self.apply(x), x, rows)
            if not augmented:
                return found.flatten().numpy()
            constant = (bias * u[: self.units]).sum() + (0 if last else u[-1])
            return torch.cat([found.flatten(), constant.view(1)]).numpy()

        shape = (outputs, inputs)
        linear = LinearOperator(shape, matvec=forward, rmatvec=backward, dtype=np.float64)
        start = np.random.default_rng(0).standard_normal(min(shape))
        try:
            found = svds(linear, k=1, v0=start, tol=_TOLERANCE, return_singular_vectors=False)
        except ArpackNoConvergence as error:
            raise ValueError(
                "`model` has a layer whose largest singular value was not found; its weights are "
                "too badly scaled."
            ) from error
        return float(found[0])


def operator(layer: nn.Linear | nn.Conv2d, shape: tuple[int, ...]) -> Operator:
    """Return the linear map of a layer on examples of a shape.

    Raises:
        ValueError: The layer does not take such examples.
    """
    own = with_plain_weights(layer).cpu().double().requires_grad_(False)
    assert isinstance(own, nn.Linear | nn.Conv2d)
    try:
        output = own(torch.zeros(1, *shape, dtype=torch.float64))
    except RuntimeError as error:
        raise ValueError(
            f"`model` must take examples of shape {shape} where it has {layer}."
        ) from error
    return Operator(
        layer=own,
        weight=own.weight.detach(),
        bias=None if own.bias is None else own.bias.detach(),
        input_shape=shape,
        output_shape=tuple(output.shape[1:]),
    )
