"""A risk as a function of one vector, with its exact gradient."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from gengap._functional import functional_call
from gengap.risk import Risk, check_finite_loss, check_finite_parameters

Point = dict[str, Tensor]


@final
@dataclass(eq=False)
class FlatRisk:
    r"""A risk as a function of one vector [p], in float64, counting what it costs.

    Differences of nearly equal losses are its use, so it computes in float64 whatever the risk
    does, on all examples, with the exact gradient.

    Attributes:
        risk: The risk, on a float64 copy of the model.
        start: The model's own point, float64 [p].
        loss: The mean loss there.
        forwards: Forward passes over the split so far.
        gradients: Forward-and-backward passes over the split so far.
    """

    risk: Risk
    start: Tensor
    loss: float
    forwards: int = 0
    gradients: int = 0
    shapes: dict[str, torch.Size] = field(default_factory=dict)

    @classmethod
    def of(
        cls, risk: Risk, *, loss: Callable[[Tensor, Tensor], Tensor] | None = None
    ) -> "FlatRisk":
        """Take a risk, or the same with another loss, and require that it is finite here.

        Raises:
            ValueError: A parameter or the loss is not finite, or a float64 copy of the network
                does not run.
        """
        check_finite_parameters(risk)
        own = Risk(
            risk.model,
            risk.split,
            loss=loss or risk.loss,
            chunk=risk.chunk,
            dtype=torch.float64,
            device=risk.device,
        )
        params = own.params
        start = torch.cat([value.reshape(-1) for value in params.values()])
        found = cls(own, start, 0.0, shapes={k: v.shape for k, v in params.items()})
        found.loss = found.value(start)
        check_finite_loss(found.loss)
        return found

    @property
    def p(self) -> int:
        """Number of parameters."""
        return len(self.start)

    def check_non_negative(self) -> None:
        """Require that the loss is at least 0, for measures relative to 1 + loss."""
        if self.loss < 0:
            raise ValueError(f"`risk` must be at least 0; got {self.loss}. Take another loss.")

    @property
    def passes(self) -> float:
        """What was spent, in forward-and-backward passes; a forward pass counts as a third."""
        return self.gradients + self.forwards / 3

    def unflatten(self, vector: Tensor) -> Point:
        """Return the parts of a vector [p] under the parameters' names, in their shapes."""
        parts = vector.split([shape.numel() for shape in self.shapes.values()])
        return {
            name: part.view(shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def value(self, at: Tensor) -> float:
        """Return the mean loss at a point [p]."""
        self.forwards += 1
        return self.risk(self.unflatten(at))

    def value_and_gradient(self, at: Tensor) -> tuple[float, Tensor]:
        """Return the mean loss and its gradient [p] at a point [p].

        Raises:
            ValueError: The loss does not depend on the parameters.
        """
        self.gradients += 1
        point = {k: v.detach().requires_grad_() for k, v in self.unflatten(at).items()}
        total, gradient = 0.0, torch.zeros_like(self.start)
        for x, y in self.risk.batches():
            with torch.enable_grad():
                outputs = functional_call(self.risk.model, point, (x,))
                losses = self.risk.losses(outputs, y)
                if not losses.requires_grad:
                    raise ValueError(
                        "`model` must give an output that depends on its parameters; got one "
                        "whose gradient is cut off from all of them."
                    )
                parts = torch.autograd.grad(
                    losses.sum(), list(point.values()), allow_unused=True, materialize_grads=True
                )
            total += float(losses.detach().double().sum())
            gradient += torch.cat([part.reshape(-1) for part in parts])
        return total / self.risk.n, gradient / self.risk.n
