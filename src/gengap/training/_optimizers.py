"""Optimizers on stacks of lanes, each lane with its own hyper-parameters."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gengap.optim import mean_of_three, median_of_three

from ._lane import Lane
from ._recipe import OF_THREE, Recipe


class LaneOptimizer(ABC):
    """An optimizer on parameters stacked along lanes; updates them in place.

    Follows `torch.optim` step for step: weight decay is added to the gradient before momentum
    (SGD, Adam) or taken from the parameters (AdamW), momentum has no dampening.

    Attributes:
        state: Name of a moment to one tensor a parameter, each [l, ...].
        steps: Steps taken.
    """

    def __init__(self, parameters: list[Tensor], lanes: list[Lane], recipe: Recipe) -> None:
        self.recipe = recipe
        self.steps = 0
        self.state = {
            name: [torch.zeros_like(p) for p in parameters] for name in self.moments(recipe)
        }
        self._take(parameters, lanes)

    def _take(self, parameters: list[Tensor], lanes: list[Lane]) -> None:
        """Hold the parameters, and each hyper-parameter as one number or a tensor a parameter."""
        self.parameters = parameters
        self.hyper: dict[str, float | list[Tensor]] = {}
        for name in ("lr", "momentum", "weight_decay"):
            values = [lane.hyperparameter(name, self.recipe) for lane in lanes]
            stack = torch.tensor(values, device=parameters[0].device)
            self.hyper[name] = (
                values[0]
                if len(set(values)) == 1
                else [stack.view(-1, *[1] * (p.ndim - 1)) for p in parameters]
            )

    @staticmethod
    @abstractmethod
    def moments(recipe: Recipe) -> tuple[str, ...]:
        """Return the names of the moments that are kept."""

    def step(self, gradients: Sequence[Tensor | None], factor: float) -> None:
        """Take one step; `factor` multiplies every lane's learning rate.

        Parameters without a gradient stay as they are, and so do their moments. Their steps are
        counted with those of the others, which `torch.optim` does not do.
        """
        places = [i for i, g in enumerate(gradients) if g is not None]
        present = [g for g in gradients if g is not None]
        if len(present) == len(gradients):
            self.move(present, factor)
        elif present:
            self._move_some(places, present, factor)

    def _move_some(self, places: list[int], gradients: list[Tensor], factor: float) -> None:
        part = copy.copy(self)
        part.parameters = [self.parameters[i] for i in places]
        part.state = {name: [values[i] for i in places] for name, values in self.state.items()}
        part.hyper = {
            name: value if isinstance(value, float) else [value[i] for i in places]
            for name, value in self.hyper.items()
        }
        part.move(gradients, factor)
        self.steps = part.steps
        for name, values in part.state.items():
            for i, value in zip(places, values, strict=True):
                self.state[name][i] = value

    @abstractmethod
    def move(self, gradients: list[Tensor], factor: float) -> None:
        """Take one step with a gradient for every parameter."""

    def keep(self, parameters: list[Tensor], lanes: list[Lane], indices: Tensor) -> None:
        """Go on with the lanes at `indices`; `parameters` and `lanes` are theirs."""
        self.state = {name: [t[indices] for t in value] for name, value in self.state.items()}
        self._take(parameters, lanes)

    def decayed(self, gradients: list[Tensor]) -> list[Tensor]:
        """Return the gradients plus weight decay times the parameters."""
        decay = self.hyper["weight_decay"]
        if decay == 0:
            return gradients
        if isinstance(decay, float):
            return list(torch._foreach_add(gradients, self.parameters, alpha=decay))
        return [g + d * p for g, d, p in zip(gradients, decay, self.parameters, strict=True)]

    def accelerated(self, directions: list[Tensor]) -> list[Tensor]:
        """Return the velocities after taking directions in, without momentum the directions."""
        momentum, velocity = self.hyper["momentum"], self.state["velocity"]
        if momentum == 0:
            return directions
        if isinstance(momentum, float):
            torch._foreach_mul_(velocity, momentum)
        else:
            for v, m in zip(velocity, momentum, strict=True):
                v.mul_(m)
        torch._foreach_add_(velocity, directions)
        return velocity

    def descend(self, directions: list[Tensor], factor: float) -> None:
        """Subtract learning rate times direction."""
        lr = self.hyper["lr"]
        if isinstance(lr, float):
            torch._foreach_add_(self.parameters, directions, alpha=-lr * factor)
        else:
            for p, d, rate in zip(self.parameters, directions, lr, strict=True):
                p.addcmul_(d, rate, value=-factor)


class SGD(LaneOptimizer):
    r"""$v \leftarrow \mu v + g$, $\theta \leftarrow \theta - \eta v$; Nesterov: $g + \mu v$."""

    @staticmethod
    def moments(recipe: Recipe) -> tuple[str, ...]:
        """Return the velocity."""
        return ("velocity",)

    def move(self, gradients: list[Tensor], factor: float) -> None:
        """Take one step."""
        gradients = self.decayed(gradients)
        self.steps += 1
        velocity = self.accelerated(gradients)
        momentum = self.hyper["momentum"]
        if momentum == 0 or not self.recipe.nesterov:
            return self.descend(velocity, factor)
        scale = _each(momentum, len(velocity))
        return self.descend(
            [g + m * v for g, m, v in zip(gradients, scale, velocity, strict=True)], factor
        )


class OfThree(LaneOptimizer):
    """The median or mean of three gradients, rolling or in every third step; `gengap.optim`."""

    @staticmethod
    def moments(recipe: Recipe) -> tuple[str, ...]:
        """Return the two gradients before the current one, and the velocity."""
        return ("last", "second_last", "velocity")

    def move(self, gradients: list[Tensor], factor: float) -> None:
        """Take one step, which moves nothing where no three gradients are together."""
        if self.recipe.decay_first:
            gradients = self.decayed(gradients)
        self.steps += 1
        last, oldest = self.state["last"], self.state["second_last"]
        rolling = self.recipe.optimizer.startswith("rolling")
        if self.steps >= 3 if rolling else self.steps % 3 == 0:
            median = self.recipe.optimizer.endswith("median_of_three")
            combined = median_of_three if median else mean_of_three
            for g, one, two in zip(gradients, last, oldest, strict=True):
                combined(g, one, two, out=two)
            directions = oldest if self.recipe.decay_first else self.decayed(oldest)
            self.descend(self.accelerated(directions), factor)
        torch._foreach_copy_(oldest, gradients)
        self.state["last"], self.state["second_last"] = oldest, last


class Adam(LaneOptimizer):
    """Adam and AdamW with bias correction."""

    @staticmethod
    def moments(recipe: Recipe) -> tuple[str, ...]:
        """Return the first and the second moment."""
        return ("first", "second")

    def move(self, gradients: list[Tensor], factor: float) -> None:
        """Take one step."""
        self.steps += 1
        if self.recipe.optimizer == "adamw":
            self._shrink(factor)
        else:
            gradients = self.decayed(gradients)
        beta1, beta2 = self.hyper["momentum"], self.recipe.beta2
        first, second = self.state["first"], self.state["second"]
        root = (1 - beta2**self.steps) ** 0.5
        rates = _each(beta1, len(first))
        directions = []
        for g, m, v, b in zip(gradients, first, second, rates, strict=True):
            m.mul_(b).add_(g * (1 - b))
            v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
            directions.append(m / (v.sqrt() / root + self.recipe.eps) / (1 - b**self.steps))
        self.descend(directions, factor)

    def _shrink(self, factor: float) -> None:
        """Take learning rate times weight decay times the parameters from the parameters."""
        count = len(self.parameters)
        rates = _each(self.hyper["lr"], count), _each(self.hyper["weight_decay"], count)
        for p, lr, decay in zip(self.parameters, *rates, strict=True):
            p.mul_(1 - factor * lr * decay)


class RMSprop(LaneOptimizer):
    r"""$\theta \leftarrow \theta - \eta v$, $v \leftarrow \mu v + g / (\sqrt{s} + \epsilon)$."""

    @staticmethod
    def moments(recipe: Recipe) -> tuple[str, ...]:
        """Return the second moment s and the velocity v."""
        return ("second", "velocity")

    def move(self, gradients: list[Tensor], factor: float) -> None:
        """Take one step."""
        gradients = self.decayed(gradients)
        self.steps += 1
        decay, directions = self.recipe.beta2, []
        for g, s in zip(gradients, self.state["second"], strict=True):
            s.mul_(decay).addcmul_(g, g, value=1 - decay)
            directions.append(g / (s.sqrt() + self.recipe.eps))
        self.descend(self.accelerated(directions), factor)


def _each(value: float | list[Tensor], count: int) -> list[Any]:
    """Return one value a parameter."""
    return [value] * count if isinstance(value, float) else value


def make_optimizer(parameters: list[Tensor], lanes: list[Lane], recipe: Recipe) -> LaneOptimizer:
    """Return the recipe's optimizer for stacked parameters."""
    kind: type[LaneOptimizer] = SGD
    if recipe.optimizer in OF_THREE:
        kind = OfThree
    elif recipe.optimizer in ("adam", "adamw"):
        kind = Adam
    elif recipe.optimizer == "rmsprop":
        kind = RMSprop
    return kind(parameters, lanes, recipe)
