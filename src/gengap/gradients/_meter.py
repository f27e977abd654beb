"""Coherence of the batches that somebody else's training loop computes anyway."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeGuard, final

import torch
from torch import Tensor, nn

from gengap._uncompiled import uncompiled

from ._backward_pass import BackwardPass
from ._intercept import hand_over, intercepted
from ._meter_check import MeterCheck
from ._part import Part
from ._recorder import Recorder
from ._tally import Tally
from ._whereabouts import Whereabouts


@final
@dataclass(frozen=True, kw_only=True)
class Reading:
    r"""What a meter has seen since it was last read.

    Attributes:
        m_coherence: $\|\sum_i g_i\|^2 / \sum_i \|g_i\|^2$, in [0, examples]: how many examples,
            itself included, a small step along one example's gradient helps. 1 where gradients
            are orthogonal; NaN where all are zero.
        examples: Number of examples n, each with the weight that its loss gave it.
        alpha: m_coherence / n, in [0, 1].
        unbiased_alpha: Mean inner product of two different examples over the mean squared norm,
            without the 1/n that chance gives `alpha`; may be below 0. NaN for one example.
        per_layer: m-coherence of each module's own parameters, by the module's name; "." is the
            model itself.
    """

    m_coherence: float
    examples: int
    alpha: float
    unbiased_alpha: float
    per_layer: dict[str, float] = field(repr=False)


@final
class CoherenceMeter(Recorder):
    r"""Measures the coherence of the batches that a training loop computes anyway.

    While the meter is on, layers hand it their input and output gradient in the backward pass.
    From these come $\sum_i g_i$ and $\sum_i \|g_i\|^2$ over everything since the last reading,
    without another pass and without storing the gradient of any single example. Outputs, losses
    and `.grad` are what they are without it, to rounding. Losses may be means or sums over the
    batch: a common factor cancels. Between readings batches of mean losses must be equally large:
    the examples of a smaller one have more weight. Read after every batch, or leave out the last.

    Cost: a few percent of a backward pass for linear layers, up to two fifths for convolutional
    networks (docs/benchmarks.md); memory of one more gradient, of two with accumulated passes.
    A backward pass that breaks off is not counted, but for what reentrant checkpoints had ended.

    A batch is what a call of the model is given, once a backward pass asks for the gradients of
    parameters. Models may fold several rows an example into it: which these are is tried once for
    every shape, and an order that cannot be found out is refused. So is, for the first three
    shapes and in calls 2, 4, 8 and so on, a model in which up to four examples together have other
    gradients than each alone, and so are two backward passes through one call, and two calls with
    equally many examples in one backward pass.

    Dropout stays on, so the gradients are those of the loss with its masks. BatchNorm in training
    mode makes an example's gradient depend on the others, and is refused.

    Under DistributedDataParallel, `read` sums one vector and a few numbers over all processes;
    every process must call it.

    Examples:
        >>> x, y = torch.eye(2), torch.tensor([[1.0], [1.0]])
        >>> line = nn.Linear(2, 1, bias=False)
        >>> _ = nn.init.zeros_(line.weight)
        >>> meter = CoherenceMeter(line)
        >>> (line(x) - y).square().mean().backward()
        >>> round(meter.read().m_coherence, 6)  # two orthogonal examples
        1.0
        >>> meter.close()

    Source:
        Chatterjee and Zielinski (2022), arXiv:2203.10036, section 2; (2020), arXiv:2008.01217.
    """

    keeps_sparse = takes_tokens = True

    def __init__(self, model: nn.Module, *, check: bool = True) -> None:
        """Put the meter on a model.

        Args:
            model: Any module, wrapped in DistributedDataParallel, compiled or not; it is used as
                before.
            check: Compare, in the first reading, and in the first after layers were exchanged or
                unfrozen, what was seen with what autograd gives every parameter.
        """
        if not isinstance(model, nn.Module):
            raise TypeError(f"`model` must be a torch.nn.Module; got {type(model).__name__}.")
        if not any(p.requires_grad for p in model.parameters()):
            raise ValueError("`model` must have parameters to train; got none.")
        self._model = uncompiled(model.module if _is_distributed(model) else model)
        self._tally = Tally()
        self._where = Whereabouts(self._model)
        self._passes: dict[int, BackwardPass] = {}
        self._changes, self._joints, self._stack = 0, ExitStack(), ExitStack()
        self._check, self._checking = check, None if not check else MeterCheck(self._model)
        try:
            self._install()
            self._stack.enter_context(self._where.told_to(self, on_entry=self._follow))
        except BaseException:
            self.close()
            raise

    def expect(self, examples: int | None) -> None:
        """Say how many examples the next batches have, where no tensor that enters shows it."""
        self._where.expected = examples

    def _install(self) -> None:
        self._joints.enter_context(intercepted(self._model, self, **self._where.known()))

    def _follow(self, called: nn.Module) -> None:
        """Put the rules in once more where layers are new, unfrozen or in another mode."""
        if self._changes == self._where.changes:
            return
        before = vars(called).get("forward")
        self._tally.check_shapes(self._model)
        self._joints.close()
        if self._checking is not None:
            self._checking.listen(self._model)
        elif self._check:
            self._checking = MeterCheck(self._model, recorded=self._tally.sums)
        self._install()
        self._changes = self._where.changes
        if not hand_over(before, vars(called).get("forward")):
            raise ValueError(
                f"A {type(called).__name__} that is called by itself must have the parameters to "
                "train that it had when the meter was made; got others. Make the meter anew."
            )

    def read(self) -> Reading:
        """Return the coherence of all examples since the last reading, and start anew.

        Raises:
            ValueError: No backward pass has been seen since, or a parameter got gradients in a
                way that cannot be told apart by example; in any process.
        """
        error = self._end_of_check()
        tally, self._tally = self._tally, Tally()
        self._passes.clear()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            elsewhere = tally.reduce(dict(self._model.named_parameters()), refused=bool(error))
            if elsewhere and not error:
                raise ValueError(
                    "`model` must give gradients that can be told apart by example in every "
                    "process; they cannot in another one, which says why."
                )
        if error is not None:
            raise error
        if not tally.examples:
            raise ValueError(
                "`read` must come after a backward pass through the model; got none since the "
                "last reading."
            )
        return Reading(**tally.coherence())

    def _end_of_check(self) -> ValueError | None:
        """Return what the check has to say, once there is something to check."""
        if self._checking is None:
            return None
        if not self._tally.examples:
            self._checking.forget()
            return None
        try:
            self._checking.finish(self._tally.sums)
        except ValueError as error:
            self._checking = MeterCheck(self._model)
            return error
        self._checking = None
        return None

    def close(self) -> None:
        """Take the meter off the model."""
        self._stack.close()
        self._joints.close()
        if self._checking is not None:
            self._checking.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> "CoherenceMeter":
        return self

    def record(self, parts: Mapping[str, Part]) -> dict[str, Tensor]:
        """Take norms and sums of one layer in the backward pass; autograd gets the sums."""
        task = torch._C._current_graph_task_id()
        if task not in self._passes:
            self._passes[task] = BackwardPass()
            torch.autograd.Variable._execution_engine.queue_callback(partial(self._end, task))
        now = self._passes[task]
        return {name: now.add(self.recorded, name, part) for name, part in parts.items()}

    def left(self, names: tuple[str, ...]) -> None:
        """Look anew at what autograd gives: it has a use that a meter does not see."""
        if self._check and self._checking is None and names:
            self._checking = MeterCheck(self._model, recorded=self._tally.sums)

    def _end(self, task: int) -> None:
        """Close a backward pass."""
        try:
            self._tally.merge(self._passes.pop(task).finish())
        except ValueError:
            self._tally = Tally()  # what the check heard of this pass cannot be told apart
            if self._checking is not None:
                self._checking.forget()
            raise


def _is_distributed(model: nn.Module) -> TypeGuard[nn.parallel.DistributedDataParallel]:
    return isinstance(model, nn.parallel.DistributedDataParallel)
