"""SGD whose gradient is a robust mean of the examples' gradients."""

from abc import ABC
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gengap._checks import check_non_negative
from gengap.data import Part as Share, Ranks
from gengap.gradients import OuterPart, Part, Recorder, Whereabouts, intercepted

from ._descent import descend
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
        taken: Names of the parameters whose gradient was taken so far.
    """

    def __init__(
        self,
        means: Mapping[str, RobustMean],
        ranks: Ranks | None = None,
        share: Share | None = None,
    ) -> None:
        self.means, self._ranks, self._share = means, ranks, share
        self.taken: set[str] = set()
        self._used: set[str] = set()

    def used(self, names: tuple[str, ...]) -> None:
        """Refuse a parameter that is used twice: its gradients come in pieces."""
        for name in names:
            if name in self._used:
                raise ValueError(
                    "`model` must use a parameter once between two backward passes; got two uses "
                    f"of {name!r}."
                )
            self._used.add(name)

    def record(self, parts: Mapping[str, Part]) -> dict[str, Tensor | None]:
        """Return the robust sums of one layer."""
        found: dict[str, Tensor | None] = {}
        for name, part in parts.items():
            self._used.discard(name)
            self.taken.add(name)
            if self._ranks and self._share:
                whole = self._share.whole
                found[name] = ranked_sum(part, self.means[name], self._ranks, whole)
            else:
                found[name] = robust_sum(part, self.means[name])
        return found


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


class _RobustSGD(Optimizer, ABC):
    """SGD on robust means; a subclass names the kind."""

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
    ) -> None:
        check_non_negative("lr", float(lr))
        check_non_negative("weight_decay", weight_decay)
        check_non_negative("momentum", momentum)
        defaults = {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "percent": percent,
        }  # fmt: skip
        super().__init__(params, defaults)
        self.model = model
        self._names = {id(p): name for name, p in model.named_parameters()}
        for group in self.param_groups:
            RobustMean(kind=self.kind, percent=group["percent"])
            if any(id(p) not in self._names for p in group["params"]):
                raise ValueError("`params` must be parameters of `model`; got one that is not.")
        self._taken: set[str] = set()
        self._where = Whereabouts(model)

    @contextmanager
    def robust(self) -> Iterator[None]:
        """Make the gradients of one forward and backward pass robust while the block runs."""
        means = {name: RobustMean(kind=self.kind, percent=0) for name in self._names.values()}
        for group in self.param_groups:
            mean = RobustMean(kind=self.kind, percent=group["percent"])
            means |= {self._names[id(p)]: mean for p in group["params"]}
        recorder = RobustRecorder(means)
        where = self._where
        with (
            intercepted(self.model, recorder, **where.known()),
            where.told_to(recorder),
        ):
            yield
        self._taken |= recorder.taken

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
        self._taken.clear()
        return loss

    def _check(self, parameters: list[Tensor]) -> None:
        plain = [self._names[id(p)] for p in parameters if self._names[id(p)] not in self._taken]
        if plain:
            raise RuntimeError(
                "Every gradient must be taken example by example; got the plain one of "
                f"{plain[0]!r}. Put forward and backward pass into `with optimizer.robust():`; a "
                "layer without a rule of its own cannot be trained so."
            )


@final
class WinsorizedSGD(_RobustSGD):
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
    parameters used twice are refused. Weight decay is added to the winsorized mean; a batch taken
    in several passes adds up their robust sums.

    Cost: see `RobustMean`; memory: at most one layer's per-example gradients at a time, of a
    linear layer's none.

    Args:
        params: Parameters of `model` or groups of them, each with its own percent if need be.
        lr: Learning rate, at least 0.
        weight_decay: L2 coefficient, at least 0.
        momentum: Of the means, at least 0; the paper's rule is 0.
        model: The network.
        percent: The percentile c, in [0, 50]: a c-th part of the batch is clipped on either side.

    Source:
        Chatterjee (2020), arXiv:2002.10657, and its code, which clips biases too, as here. It
        materializes all per-example gradients; ours are streamed layer by layer.
    """

    kind = "winsorized"


@final
class TrimmedMeanSGD(_RobustSGD):
    r"""SGD on the trimmed mean of the examples' gradients, coordinate by coordinate.

    As `WinsorizedSGD`, but what lies outside the percentiles is left out instead of clipped:
    $\theta \leftarrow \theta - \eta \, b \operatorname{trim}_c(g_1, \dots, g_b)$. At c = 50 it is
    the coordinate-wise median. Arguments are those of `WinsorizedSGD`.

    Source:
        Yin, Chen, Ramchandran, Bartlett (2018), arXiv:1803.01498, for means over workers.
    """

    kind = "trimmed"
