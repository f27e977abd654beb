"""Optimizers that combine three gradients, coordinate by coordinate."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, final

import torch
from torch import Tensor
from torch.optim import Optimizer

from ._descent import check_group, descend
from ._of_three import roll_means, roll_medians

Loss = Any


class ThreeGradients(Optimizer, ABC):
    r"""Descends along a combination of three consecutive gradients.

    With $h_t = g_t + \lambda \theta_t$ and a combination $C$ of three, either rolling, in every
    step $t \ge 3$, or in every third step:

    $$v \leftarrow \mu v + C(h_t, h_{t-1}, h_{t-2}), \qquad \theta \leftarrow \theta - \eta v$$

    Each parameter counts its own steps: those in which it has a gradient. In the other steps
    nothing moves, weight decay included.

    **`step` writes to the gradient.** It leaves the direction that was taken in `p.grad`, and
    sets it to None where none was. Both forms of `zero_grad` work.

    Cost: memory for two more gradients, about 5 passes over the parameters.

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
        if any(p.is_complex() for p in group["params"]):
            raise ValueError(
                "`params` must be real, for numbers to have an order; got complex ones."
            )
        self.param_groups.append(group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state.

        Raises:
            ValueError: It is of parameters of other shapes.
        """
        kept = self.state_dict()
        super().load_state_dict(state_dict)
        for p, state in self.state.items():
            for value in state.values():
                if isinstance(value, Tensor) and value.shape != p.shape:
                    super().load_state_dict(kept)
                    raise ValueError(
                        "`state_dict` must be of parameters of the same shapes; got a gradient of "
                        f"{tuple(value.shape)} for a parameter of {tuple(p.shape)}."
                    )

    @staticmethod
    @abstractmethod
    def roll(
        news: list[Tensor], lasts: list[Tensor], oldests: list[Tensor], *, foreach: bool
    ) -> None:
        """Write combinations of three gradients into `news`, what was there into `oldests`."""

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
        moving, directions, states = [], [], []
        for p, gradient in zip(parameters, gradients, strict=True):
            state = self.state[p]
            if self._is_due(state, gradient):
                moving.append(p)
                directions.append(gradient)
                states.append(state)
            else:
                p.grad = None
        if not moving:
            return
        self._combine(directions, states, foreach=group["foreach"])
        if decay and not group["decay_first"]:
            torch._foreach_add_(directions, moving, alpha=decay)
        descend(moving, directions, state=self.state, group=group)

    def _is_due(self, state: dict[str, Any], gradient: Tensor) -> bool:
        """Count a step; keep the gradient where there are not yet three of them."""
        step = state["step"] = state.get("step", 0) + 1
        if step >= 3 if self.rolling else step % 3 == 0:
            return True
        name = "second_last" if step % 3 == 1 else "last"
        if name not in state:
            state[name] = torch.empty_like(gradient)
        state[name].copy_(gradient)
        return False

    def _combine(
        self, gradients: list[Tensor], states: list[dict[str, Any]], *, foreach: bool | None
    ) -> None:
        """Make directions of the gradients, and keep these for the steps to come."""
        lasts = [state["last"] for state in states]
        oldests = [state["second_last"] for state in states]
        if foreach is None:
            foreach = all([g.is_cuda for g in gradients])
        self.roll(gradients, lasts, oldests, foreach=foreach)
        for state, new, old in zip(states, oldests, lasts, strict=True):
            state["last"], state["second_last"] = new, old


def _own_gradient(p: Tensor) -> Tensor:
    """Return the gradient of a parameter as a tensor that can be written to."""
    gradient = p.grad
    assert gradient is not None
    if gradient.is_sparse:
        raise RuntimeError(
            f"`params` must have dense gradients; got a sparse one of shape {tuple(p.shape)}. Make "
            "its layer with `sparse=False`."
        )
    if 0 in gradient.stride():
        gradient = p.grad = gradient.clone(memory_format=torch.contiguous_format)
    return gradient.detach() if gradient.requires_grad else gradient


class _MedianOfThree(ThreeGradients):
    """The combination is the median."""

    @staticmethod
    def roll(
        news: list[Tensor], lasts: list[Tensor], oldests: list[Tensor], *, foreach: bool
    ) -> None:
        """Write medians of three gradients into `news`, what was there into `oldests`."""
        if not foreach:
            roll_medians(news, lasts, oldests)
            return
        bounds = torch._foreach_maximum(news, lasts)
        torch._foreach_minimum_(bounds, oldests)
        torch._foreach_copy_(oldests, news)
        torch._foreach_minimum_(news, lasts)
        torch._foreach_maximum_(news, bounds)


@final
class RollingMedianOfThree(_MedianOfThree):
    r"""RM3: the elementwise median of the current and the two previous gradients.

    $$\theta \leftarrow \theta - \eta \operatorname{med}(h_t, h_{t-1}, h_{t-2}), \qquad
    h_t = g_t + \lambda \theta_t, \qquad t \ge 3$$

    A coordinate moves only in a direction in which at least two of three consecutive batches
    agree, so that a direction which one batch alone asks for has no say. There is no update in
    the first two steps. The median of random variables that are skewed is not their mean: the
    step is biased, and need not be a descent.

    `step`, that of `ThreeGradients`, leaves the direction that was taken in `p.grad`, None in the
    first two steps. Memory: two more gradients. Cost: about 5 passes over the parameters.

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

    Examples:
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

    Examples:
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
    def roll(
        news: list[Tensor], lasts: list[Tensor], oldests: list[Tensor], *, foreach: bool
    ) -> None:
        """Write means of three gradients into `news`, what was there into `oldests`."""
        if not foreach:
            roll_means(news, lasts, oldests)
            return
        totals = torch._foreach_add(news, lasts)
        torch._foreach_add_(totals, oldests)
        torch._foreach_copy_(oldests, news)
        torch._foreach_copy_(news, torch._foreach_div(totals, 3))


@final
class MeanOfThree(_MeanOfThree):
    """The control of `MedianOfThree`: in every third step, the mean of the last three gradients.

    It averages over as many examples as the median does, and suppresses nothing. Arguments,
    memory and what becomes of `p.grad` are those of `RollingMedianOfThree`.

    Source:
        Ours: the paper's control is the rolling mean.
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
