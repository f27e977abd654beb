"""Optimizers that combine three gradients, coordinate by coordinate."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, final

import torch
from torch import Tensor
from torch.optim import Optimizer

from ._descent import check_group, descend
from ._of_three import mean_of_three, median_of_three

Loss = Any


class ThreeGradients(Optimizer, ABC):
    r"""Descends along a combination of three consecutive gradients.

    With $h_t = g_t + \lambda \theta_t$ and a combination $C$ of three, either rolling, in every
    step $t \ge 3$, or in every third step:

    $$v \leftarrow \mu v + C(h_t, h_{t-1}, h_{t-2}), \qquad \theta \leftarrow \theta - \eta v$$

    Each parameter counts its own steps: those in which it has a gradient. In the other steps
    nothing moves, weight decay included.

    **The gradient changes hands.** `step` takes the tensor in `p.grad`, and leaves there the
    direction that was taken, or None where none was. Both forms of `zero_grad` work. A gradient
    that shares its memory, such as a view of a bucket of DistributedDataParallel, is copied.

    Cost: memory for two more gradients, about 4 passes over the parameters.

    Attributes:
        rolling: Whether there is an update in every step from the third on.
    """

    rolling: bool

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 0.1,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        *,
        decay_first: bool = True,
        foreach: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "decay_first": decay_first,
            "foreach": foreach,
        }
        check_group(defaults)
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take another group of parameters."""
        super().add_param_group(param_group)
        group = self.param_groups.pop()
        check_group(group)
        self.param_groups.append(group)

    @staticmethod
    @abstractmethod
    def combined(a: Tensor, b: Tensor, c: Tensor, *, out: Tensor) -> Tensor:
        """Write the combination of three gradients into `out`, which may be one of them."""

    @staticmethod
    @abstractmethod
    def combined_lists(a: list[Tensor], b: list[Tensor], c: list[Tensor]) -> list[Tensor]:
        """Return the combinations of lists of gradients; may overwrite the third list."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Loss] | None = None) -> Loss | None:  # type: ignore[override]
        """Take the gradients; update the parameters that have had three.

        Args:
            closure: Evaluates the loss anew and returns it, or None.

        Returns:
            What `closure` returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._step_group(group)
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        parameters = [p for p in group["params"] if p.grad is not None]
        gradients = [_own_gradient(p) for p in parameters]
        decay = group["weight_decay"]
        if decay and group["decay_first"] and parameters:
            torch._foreach_add_(gradients, parameters, alpha=decay)
        full = [self._push(p, g) for p, g in zip(parameters, gradients, strict=True)]
        ready = [(p, three) for p, three in zip(parameters, full, strict=True) if three]
        if not ready:
            return
        parameters = [p for p, _ in ready]
        directions = self._combine([three for _, three in ready], foreach=group["foreach"])
        if decay and not group["decay_first"]:
            torch._foreach_add_(directions, parameters, alpha=decay)
        for p, direction in zip(parameters, directions, strict=True):
            p.grad = direction
        descend(parameters, directions, state=self.state, group=group)

    def _push(self, p: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """Take a gradient; return the last three where an update is due, the spare one last."""
        state = self.state[p]
        state["step"] = state.get("step", 0) + 1
        p.grad = None
        if not self.rolling:
            return self._fill(state, gradient)
        full = state["step"] >= 3
        three = (gradient, state["last"], state["second_last"]) if full else None
        if "last" in state:
            state["second_last"] = state["last"]
        state["last"] = gradient
        return three

    def _fill(
        self, state: dict[str, Any], gradient: Tensor
    ) -> tuple[Tensor, Tensor, Tensor] | None:
        """Copy the first two gradients of three; memory that goes and comes costs page faults."""
        place = {1: "second_last", 2: "last"}.get(state["step"] % 3)
        if place is None:
            return state["second_last"], state["last"], gradient
        if place not in state:
            state[place] = torch.empty_like(gradient)
        state[place].copy_(gradient)
        return None

    def _combine(
        self, threes: list[tuple[Tensor, Tensor, Tensor]], *, foreach: bool | None
    ) -> list[Tensor]:
        """Return the combinations, in the memory of the third gradients where that is possible."""
        if foreach is None:
            foreach = all(three[0].is_cuda for three in threes)
        if foreach:
            return self.combined_lists(*(list(tensors) for tensors in zip(*threes, strict=True)))
        return [self.combined(*three, out=three[2]) for three in threes]


def _own_gradient(p: Tensor) -> Tensor:
    """Return the gradient of a parameter as a tensor that nobody else writes to."""
    gradient = p.grad
    assert gradient is not None
    if gradient.is_sparse:
        raise RuntimeError("The gradients of three steps must be dense; got a sparse one.")
    whole = gradient.untyped_storage().nbytes() == gradient.numel() * gradient.element_size()
    return gradient.detach() if whole else gradient.detach().clone()


class _MedianOfThree(ThreeGradients):
    """The combination is the median."""

    @staticmethod
    def combined(a: Tensor, b: Tensor, c: Tensor, *, out: Tensor) -> Tensor:
        """Write the median of three gradients into `out`."""
        return median_of_three(a, b, c, out=out)

    @staticmethod
    def combined_lists(a: list[Tensor], b: list[Tensor], c: list[Tensor]) -> list[Tensor]:
        """Return the medians of lists of gradients."""
        low, high = torch._foreach_minimum(a, b), torch._foreach_maximum(a, b)
        torch._foreach_minimum_(high, c)
        torch._foreach_maximum_(low, high)
        return list(low)


@final
class RollingMedianOfThree(_MedianOfThree):
    r"""RM3: the elementwise median of the current and the two previous gradients.

    $$\theta \leftarrow \theta - \eta \operatorname{med}(h_t, h_{t-1}, h_{t-2}), \qquad
    h_t = g_t + \lambda \theta_t, \qquad t \ge 3$$

    A coordinate moves only in a direction in which at least two of three consecutive batches
    agree, so that a direction which one batch alone asks for has no say. There is no update in
    the first two steps. The median of random variables that are skewed is not their mean: the
    step is biased, and need not be a descent.

    `step` keeps the tensor in `p.grad` and leaves the direction that was taken in its place, None
    in the first two steps. Memory: two more gradients. Cost: about 4 passes over the parameters.

    Args:
        params: Parameters or groups of them.
        lr: Learning rate, at least 0.
        weight_decay: L2 coefficient, at least 0.
        momentum: Of the medians, at least 0. The paper's rule is 0, and its code refuses others
            as unstable.
        decay_first: Whether weight decay is added to the gradient before the median, as in the
            paper's code, or to the median.
        foreach: Whether to go through all parameters in a few fused calls, or one after the
            other in blocks that stay in the cache; None chooses the first on CUDA.

    Source:
        Zielinski, Krishnan, Chatterjee (2020), arXiv:2003.07422, and its code. Ours takes the
        median by minima and maxima, so that it is one of the three bit for bit.

    Example:
        >>> w = torch.nn.Parameter(torch.zeros(2))
        >>> optimizer = RollingMedianOfThree([w], lr=1.0)
        >>> for gradient in ([1.0, 9.0], [2.0, -1.0], [3.0, 0.0]):
        ...     w.grad = torch.tensor(gradient)
        ...     optimizer.step()
        >>> w.tolist()
        [-2.0, 0.0]
    """

    rolling = True


@final
class MedianOfThree(_MedianOfThree):
    r"""M3: in every third step, the elementwise median of the last three gradients.

    $$\theta \leftarrow \theta - \eta \operatorname{med}(h_{3s}, h_{3s-1}, h_{3s-2}),
    \qquad h_t = g_t + \lambda \theta$$

    The three gradients are at the same parameters, those of three consecutive batches. To take
    the median within one batch, as the paper describes it, cut the batch into three groups:

        for group in torch.randperm(len(x)).chunk(3):
            optimizer.zero_grad()
            loss(model(x[group]), y[group]).backward()
            optimizer.step()  # moves at the third group

    A learning-rate schedule that counts calls of `step` counts three an update.

    Args, memory and what becomes of `p.grad` are those of `RollingMedianOfThree`.

    Source:
        Zielinski, Krishnan, Chatterjee (2020), arXiv:2003.07422. The paper cuts a batch in three;
        its code takes three consecutive ones, as `step` does here.

    Example:
        >>> w = torch.nn.Parameter(torch.zeros(2))
        >>> optimizer = MedianOfThree([w], lr=1.0)
        >>> for gradient in ([1.0, 9.0], [2.0, -1.0], [3.0, 0.0], [5.0, 5.0]):
        ...     w.grad = torch.tensor(gradient)
        ...     optimizer.step()
        >>> w.tolist()
        [-2.0, 0.0]
    """

    rolling = False


class _MeanOfThree(ThreeGradients):
    """The combination is the mean."""

    @staticmethod
    def combined(a: Tensor, b: Tensor, c: Tensor, *, out: Tensor) -> Tensor:
        """Write the mean of three gradients into `out`."""
        return mean_of_three(a, b, c, out=out)

    @staticmethod
    def combined_lists(a: list[Tensor], b: list[Tensor], c: list[Tensor]) -> list[Tensor]:
        """Return the means of lists of gradients."""
        total = torch._foreach_add(a, b)
        torch._foreach_add_(total, c)
        torch._foreach_div_(total, 3)
        return list(total)


@final
class MeanOfThree(_MeanOfThree):
    """The control of `MedianOfThree`: in every third step, the mean of the last three gradients.

    It averages over as many examples as the median does, and suppresses nothing. Arguments,
    memory and what becomes of `p.grad` are those of `RollingMedianOfThree`.
    """

    rolling = False


@final
class RollingMeanOfThree(_MeanOfThree):
    """RA3, the control of `RollingMedianOfThree`: the mean of the last three gradients.

    It averages over as many batches as the median does, and suppresses nothing. Arguments,
    memory and what becomes of `p.grad` are those of `RollingMedianOfThree`.

    Source:
        The control of Zielinski, Krishnan, Chatterjee (2020), arXiv:2003.07422, and its code.
    """

    rolling = True
