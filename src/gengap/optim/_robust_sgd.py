"""SGD whose gradient is a robust mean of the examples' gradients."""

import warnings
from abc import ABC
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gengap._uncompiled import uncompiled
from gengap.data import Part as Share, Ranks
from gengap.gradients import OuterPart, Part, Recorder, Whereabouts, intercepted

from ._descent import check_group, descend
from ._robust_gradients import RobustGradients, stamp
from ._robust_mean import RobustMean
from ._robust_ranks import ranked_products, ranked_rows

Loss = Any


@final
class RobustRecorder(Recorder):
    """Gives autograd, for the sum over a batch's examples, b times their robust mean.

    Of one layer after the other, so that at most one block of per-example gradients is there at
    a time; of a linear layer's not even that.

    Attributes:
        means: Parameter name to the mean to take.
        gradients: Hears what autograd gets.
        most: The most examples of one call that had a robust sum.
    """

    takes_tokens = True

    def __init__(
        self,
        means: Mapping[str, RobustMean],
        ranks: Ranks | None = None,
        share: Share | None = None,
        *,
        gradients: RobustGradients | None = None,
    ) -> None:
        self.means, self._ranks, self._share = means, ranks, share
        self.gradients = RobustGradients() if gradients is None else gradients
        self._task, self._seen = -1, set[str]()
        self.most = 0

    def used(self, names: tuple[str, ...]) -> None:
        """Refuse a parameter that one call uses twice: its gradients come in pieces."""
        for name in names:
            if self.batch is not None and self.batch.uses.get(name, 0) > 1:
                _refuse_two_uses(name)

    def record(self, parts: Mapping[str, Part]) -> dict[str, Tensor | None]:
        """Return the robust sums of one layer."""
        task = torch._C._current_graph_task_id()
        if task != self._task:
            self._task, self._seen = task, set()
        if self.recorded is not None:
            self.most = max(self.most, self.recorded.examples or self.recorded.rows or 0)
        found: dict[str, Tensor | None] = {}
        for name, part in parts.items():
            if name in self._seen:
                _refuse_two_uses(name)
            self._seen.add(name)
            if self._ranks and self._share:
                whole = self._share.whole
                found[name] = ranked_sum(part, self.means[name], self._ranks, whole)
            else:
                found[name] = robust_sum(part, self.means[name])
        return found

    def given(self, name: str, gradient: Tensor) -> None:
        """Know the robust sum again where autograd has it."""
        self.gradients.given[name] = stamp(gradient)

    def gave(self, name: str, gradient: Tensor) -> bool:
        """Whether a gradient of autograd's is the robust sum, and nothing came on top."""
        return self.gradients.is_given(name, gradient)


def _refuse_two_uses(name: str) -> None:
    raise ValueError(
        f"`model` must use a parameter once between two backward passes; got two uses of {name!r}."
    )


def robust_sum(part: Part, mean: RobustMean) -> Tensor:
    """Return b times the robust mean of one parameter's b per-example gradients."""
    if isinstance(part, OuterPart):
        return mean.of_outer_products(part.deltas, part.inputs) * len(part.deltas)
    gradients = part.dense()
    return mean.of_rows(gradients) * len(gradients)


def ranked_sum(part: Part, mean: RobustMean, ranks: Ranks, whole: int) -> Tensor:
    """Return this rank's share of the same over the examples of all ranks."""
    if isinstance(part, OuterPart):
        return ranked_products(mean, part.deltas, part.inputs, ranks, whole) * whole
    return ranked_rows(mean, part.dense(), ranks, whole) * whole


class RobustSGD(Optimizer, ABC):
    r"""SGD on robust means over the examples of a batch, coordinate by coordinate.

    With the gradients $g_i$ of the mean loss of b examples and a `RobustMean` $M$ of them:

    $$v \leftarrow \mu v + b \, M(g_1, \dots, g_b) + \lambda \theta, \qquad
    \theta \leftarrow \theta - \eta v$$

    Attributes:
        kind: The mean, as of `RobustMean`.
        model: The network, without what compiles it.

    Raises:
        TypeError: `model` is no module.
        ValueError: A parameter is not one of `model`, or a number is outside its range.
    """

    kind: Literal["winsorized", "trimmed"]

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 0.1,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        *,
        model: nn.Module,
        percent: float = 1.0,
        foreach: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "percent": percent,
            "foreach": foreach,
        }
        if not isinstance(model, nn.Module):
            raise TypeError(f"`model` must be a torch.nn.Module; got a {type(model).__name__}.")
        self.model = uncompiled(model)
        self._follow()
        check_group(defaults)
        super().__init__(params, defaults)

    def _follow(self) -> None:
        self._names: dict[Tensor, str] = {p: name for name, p in self.model.named_parameters()}
        self._gradients = RobustGradients()
        self._where = Whereabouts(self.model)
        self._inside = self._told = False

    def _listen(self, group: dict[str, Any]) -> None:
        self._gradients.follow({p: self._names[p] for p in group["params"]})

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "model": self.model}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "model" in state:
            self._follow()
            for group in self.param_groups:
                self._listen(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take another group of parameters of the model."""
        super().add_param_group(param_group)
        group = self.param_groups.pop()
        check_group(group)
        RobustMean(kind=self.kind, percent=group["percent"])
        if any(p not in self._names for p in group["params"]):
            raise ValueError("`params` must be parameters of `model`; got one that is not.")
        self.param_groups.append(group)
        self._listen(group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set the gradients to None or to zero."""
        super().zero_grad(set_to_none)
        self._gradients.forget()

    @contextmanager
    def robust(self) -> Iterator[None]:
        """Make the gradients of one forward and backward pass robust while the block runs.

        `.grad` gets b times the robust mean over the batch's b examples. Blocks within a block
        change nothing.

        Warns:
            UserWarning: Once, where `percent` is too low to leave out one of b examples.
        """
        if self._inside:
            yield
            return
        rest = RobustMean(kind=self.kind, percent=0)
        means = {name: rest for name, _ in self.model.named_parameters()}
        for group in self.param_groups:
            mean = RobustMean(kind=self.kind, percent=group["percent"])
            means |= {self._names[p]: mean for p in group["params"]}
            self._listen(group)
        recorder = RobustRecorder(means, gradients=self._gradients)
        where = self._where
        with (
            intercepted(self.model, recorder, **where.known()),
            where.told_to(recorder),
        ):
            self._inside = True
            try:
                yield
            finally:
                self._inside = False
        if recorder.most and not self._told:
            self._told = True
            self._warn_if_idle(recorder.most)

    def _warn_if_idle(self, batch: int) -> None:
        """Say once, of the first batch, that its robust mean is the plain one."""
        for group in self.param_groups:
            mean = RobustMean(kind=self.kind, percent=group["percent"])
            if words := mean.idle(batch):
                warnings.warn(f"`percent` {words}", stacklevel=4)
                return

    @torch.no_grad()
    def step(self, closure: Callable[[], Loss] | None = None) -> Loss | None:  # type: ignore[override]
        """Descend along the robust gradients.

        Args:
            closure: Evaluates the loss and its gradients, which become robust by themselves.

        Returns:
            What `closure` returned.

        Raises:
            RuntimeError: A gradient is the plain one.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad(), self.robust():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            self._check(parameters)
            gradients = [p.grad for p in parameters]
            if group["weight_decay"] and parameters:
                gradients = list(
                    torch._foreach_add(gradients, parameters, alpha=group["weight_decay"])
                )
            descend(parameters, gradients, state=self.state, group=group)
        return loss

    def _check(self, parameters: list[Tensor]) -> None:
        for p in parameters:
            assert p.grad is not None
            if not self._gradients.is_robust(self._names[p], p.grad):
                raise RuntimeError(
                    "Every gradient must be taken example by example; got a plain one in that of "
                    f"{self._names[p]!r}. Call `optimizer.zero_grad()` first, put forward and "
                    "backward pass into `with optimizer.robust():`, and change `.grad` in place "
                    "only; a layer without a rule of its own, or a parameter used outside its "
                    "layer, cannot be trained so."
                )


@final
class WinsorizedSGD(RobustSGD):
    r"""SGD on the winsorized mean of the examples' gradients, coordinate by coordinate.

    $$\theta \leftarrow \theta - \eta \, b \operatorname{wins}_c(g_1, \dots, g_b)$$

    with the gradients $g_i$ of the batch's mean loss, so that c = 0 is SGD; see `RobustMean` for
    the mean. What only a few examples ask for has no say, so that the network does not memorize;
    the step need not be a descent, and a large c keeps the network from fitting at all.

        optimizer = WinsorizedSGD(model.parameters(), lr=0.1, percent=2, model=model)
        for x, y in batches:
            optimizer.zero_grad()
            with optimizer.robust():
                loss(model(x), y).backward()
            optimizer.step()

    Layers whose gradients cannot be told apart by example (BatchNorm in training mode) and
    parameters used twice, or outside their layers, are refused; so is every `.grad` that a plain
    backward pass has added to. Weight decay is added to the winsorized mean; a batch taken
    in several passes adds up their robust sums. Under DistributedDataParallel every process takes
    the robust mean of its own part of the batch, and these are averaged; `gengap.fit` with
    several processes takes that of the whole batch.

    `robust` and `step` are those of `RobustSGD`. Cost: see `RobustMean`; memory: at most one
    layer's per-example gradients at a time, of a linear layer's none.

    Args:
        params: Parameters of `model` or groups of them, each with its own percent if need be.
        lr: Learning rate, at least 0.
        weight_decay: L2 coefficient, at least 0.
        momentum: Of the means, at least 0; the paper's rule is 0.
        model: The network.
        percent: The percentile c, in [0, 50]: c percent of the batch are clipped on either side.
            Up to 50 / (b - 1) that is nothing of a batch of b, of which a warning tells once.
        foreach: Whether the update goes through all parameters in fused calls, or through one
            after the other; None chooses the first.

    Source:
        Chatterjee (2020), arXiv:2002.10657, and its code, which clips biases too, as here. It
        materializes all per-example gradients; ours are streamed layer by layer.
    """

    kind = "winsorized"


@final
class TrimmedMeanSGD(RobustSGD):
    r"""SGD on the trimmed mean of the examples' gradients, coordinate by coordinate.

    As `WinsorizedSGD`, but what lies outside the percentiles is left out instead of clipped:
    $\theta \leftarrow \theta - \eta \, b \operatorname{trim}_c(g_1, \dots, g_b)$. At c = 50 it is
    the coordinate-wise median. Arguments are those of `WinsorizedSGD`, methods of `RobustSGD`.

    Source:
        Yin, Chen, Ramchandran, Bartlett (2018), arXiv:1803.01498, for means over workers.
    """

    kind = "trimmed"
