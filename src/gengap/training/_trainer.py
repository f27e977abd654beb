"""The training loop: l lanes, epoch by epoch, resumable at every epoch."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from gengap._streams import derive_seed, streams
from gengap.data import Ranks, Source, Split

from ._evaluation import Evaluation, Watch, evaluate
from ._feed import Feed
from ._held_out import set_aside
from ._lane import Lane
from ._optimizers import make_optimizer
from ._probed import Probed
from ._probes import Probes
from ._probing import Probing
from ._program import Program
from ._recipe import Recipe
from ._recorded import Recorded
from ._seeding import own_draws
from ._stopping import Row, Status, Stopper, not_finite


@dataclass(frozen=True)
class Outcome:
    """How one lane ended: its place, status, reason, history, final values, what was probed."""

    lane: int
    status: Status
    reason: str
    rows: list[Row]
    values: dict[str, Tensor]
    probed: Probed | None = None


class Trainer:
    """Trains l lanes of one program until each has met its own stopping rule.

    Every draw of an epoch comes from a stream named by lane seed, purpose and epoch, so the state
    between epochs is only tensors and plain data: a trainer restored from it goes on as if it
    had never stopped.

    Attributes:
        epoch: Epochs done.
        active: Places of the lanes that still train.
        rows: The history of every lane so far.
    """

    def __init__(
        self,
        program: Program,
        lanes: list[Lane],
        tests: list[Split] | None,
        recipe: Recipe,
        device: torch.device,
        *,
        model: nn.Module,
        probes: Probes | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self.ranks = ranks or Ranks()
        self.program, self.recipe, self.device = program, recipe, device
        self.lanes = lanes
        self.active = list(range(len(lanes)))
        self.epoch, self.step, self.seconds = 0, 0, 0.0
        self._clock = time.perf_counter()
        self.rows: list[list[Row]] = [[] for _ in lanes]
        self._stoppers = [Stopper(recipe) for _ in lanes]
        self._best: dict[int, dict[str, Tensor]] = {}
        self._handed_over: set[int] = set()
        self._recorded: Recorded | None = None
        splits, held_out, rows = set_aside(lanes, recipe)
        self._train = self._feed(splits)
        self._test = self._feed(tests) if tests else None
        self._held_out = self._feed(held_out) if held_out else None
        self._n = self._train.sizes[0]
        self._optimizer = make_optimizer(list(program.parameters.values()), lanes, recipe)
        self._probing = Probing(probes, model, lanes, splits, rows, recipe=recipe, device=device)
        self._probing.ranks = self.ranks

    def _feed(self, splits: list[Split]) -> Feed:
        """Return a feed that reads no example of a streamed split that is another rank's."""
        streamed = any(isinstance(split.inputs, Source) for split in splits)
        return Feed(splits, self.device, cache=self.ranks.world == 1 or not streamed)

    @property
    def _apart(self) -> list[str | int]:
        """Names that keep draws inside a network apart from those on other ranks."""
        return ["rank", self.ranks.rank] if self.ranks.rank else []

    @property
    def steps_per_epoch(self) -> int:
        """Steps an epoch."""
        return math.ceil(self._n / self.recipe.batch_size)

    def run(
        self,
        on_end: Callable[[Outcome], None],
        on_epoch: Callable[["Trainer"], None] | None = None,
    ) -> None:
        """Train until no lane is left.

        Args:
            on_end: Called with the outcome of each lane as it ends.
            on_epoch: Called after every epoch, once outcomes have been handed over.
        """
        self._clock = time.perf_counter()
        try:
            if self.active and not self.rows[self.active[0]]:
                self._record([math.nan] * len(self.active))
                if on_epoch:
                    on_epoch(self)
            while self.active:
                self._epoch(on_end)
                if on_epoch:
                    on_epoch(self)
        except KeyboardInterrupt:
            for place, lane in enumerate(self.active if self._recorded else []):
                if lane not in self._handed_over:
                    on_end(self._interrupted(place, lane))
            raise

    def _epoch(self, on_end: Callable[[Outcome], None]) -> None:
        losses = self._pass()
        self.epoch += 1
        ended = not_finite(losses, first=self.step - len(losses) + 1)
        if self.epoch % self.recipe.evaluate_every == 0 or self.epoch == self.recipe.epochs:
            self._record(losses.double().mean(0).tolist())
            for place, lane in enumerate(self.active):
                verdict = self._stoppers[lane](self.rows[lane][-1])
                if verdict and place not in ended:
                    ended[place] = verdict
            self._keep_best()
        for place, (status, reason) in sorted(ended.items()):
            on_end(self._outcome(place, self.active[place], status, reason))
            self._handed_over.add(self.active[place])
        if ended:
            self._drop(ended)

    def _pass(self) -> Tensor:
        """Take the steps of one epoch; return the losses of its batches, [t, l]."""
        seeds = [self.lanes[lane].seed for lane in self.active]
        order = torch.stack([
            torch.randperm(self._n, generator=streams(s)("batches", self.epoch)) for s in seeds
        ])
        self.program.start_epoch([streams(s)("dropout", self.epoch) for s in seeds])
        augment = [streams(s)("augmentation", self.epoch) for s in seeds]
        losses = []
        with own_draws(derive_seed(seeds[0], "model", self.epoch, *self._apart)):
            for indices in order.to(self.device).split(self.recipe.batch_size, dim=1):
                loss, gradients = self._gradients(indices, augment)
                self._optimizer.step(gradients, self._factor())
                self.step += 1
                losses.append(loss)
                self._probing.after_step(
                    self.program, epoch=self.step // self.steps_per_epoch, step=self.step
                )
        return torch.stack(losses).cpu()

    def _gradients(
        self, indices: Tensor, augment: list[torch.Generator]
    ) -> tuple[Tensor, list[Tensor | None]]:
        """Return the mean losses of a batch and their gradients, each rank doing its part."""
        part = self.ranks.part(indices.shape[1]) if self.ranks.world > 1 else None
        if part and not part.size:
            parameters = list(self.program.parameters.values())
            return self._added(parameters[0].new_zeros(len(indices)), [None] * len(parameters))
        own = part.of(indices, 1) if part else indices
        x, y = self._train.batch(
            own, augmentation=self.recipe.augmentation, generators=augment, part=part
        )
        return self._added(*self.program.gradients(x, y, part))

    def _added(
        self, loss: Tensor, gradients: list[Tensor | None]
    ) -> tuple[Tensor, list[Tensor | None]]:
        """Add up what the ranks have; None is left where none of them uses a parameter."""
        if self.ranks.world == 1:
            return loss, gradients
        own = zip(gradients, self.program.parameters.values(), strict=True)
        filled = [torch.zeros_like(p) if g is None else g for g, p in own]
        uses = torch.tensor([g is not None for g in gradients], dtype=torch.int32)
        uses, loss, *filled = self.ranks.added([uses.to(loss.device), loss, *filled])
        used = zip(filled, uses.tolist(), strict=True)
        return loss, [g if count else None for g, count in used]

    def _tick(self) -> None:
        """Count the seconds since the last tick, by the clock of rank 0."""
        now = time.perf_counter()
        self.seconds += now - self._clock
        self._clock = now

    def _factor(self) -> float:
        """Return the factor on the learning rate at the current step."""
        total = self.steps_per_epoch * self.recipe.epochs
        factor = self.recipe.schedule(
            self.step, steps_per_epoch=self.steps_per_epoch, total_steps=total
        )
        warmup = self.recipe.warmup_steps
        return factor * min(1.0, (self.step + 1) / warmup) if warmup else factor

    def _record(self, online: list[float]) -> None:
        """Evaluate and add a row to the history of every active lane."""
        self._tick()
        clock = torch.tensor([self.seconds], dtype=torch.float64)
        self.seconds = float(self.ranks.from_first([clock])[0])
        seed = self.lanes[self.active[0]].seed
        with own_draws(derive_seed(seed, "model", self.epoch, "evaluation")):
            train = self._evaluate(self._train, self._probing.watch(self.epoch))
            test = self._evaluate(self._test) if self._test else None
            held = self._evaluate(self._held_out) if self._held_out else None
        probed = self._probing.after_evaluation(self.program, epoch=self.epoch, step=self.step)
        recorded = Recorded.of(self.program, self.active, self.epoch)
        top, rows = self._probing.probes.top, []
        for place, lane in enumerate(self.active):
            row: Row = {
                "epoch": self.epoch,
                "step": self.step,
                "lr": self.lanes[lane].hyperparameter("lr", self.recipe) * self._factor(),
                "train_loss": train.loss[place],
                "train_accuracy": train.accuracy[place],
                "clean_accuracy": train.clean_accuracy[place],
                "corrupted_accuracy": train.corrupted_accuracy[place],
                "test_loss": test.loss[place] if test else math.nan,
                "test_accuracy": test.accuracy[place] if test else math.nan,
                "seconds": self.seconds,
                "batch_loss": online[place],
            }
            if held:
                row["held_out_loss"] = held.loss[place]
                row["held_out_accuracy"] = held.accuracy[place]
            if top:
                row[f"train_top{top}_accuracy"] = train.top_accuracy[place]
                row[f"test_top{top}_accuracy"] = test.top_accuracy[place] if test else math.nan
            rows.append(row | probed[place])
        for lane, row in zip(self.active, rows, strict=True):
            self.rows[lane].append(row)
        self._recorded = recorded

    def _evaluate(self, feed: Feed, watch: Watch | None = None) -> Evaluation:
        return evaluate(
            self.program,
            feed,
            loss=self.recipe.loss,
            watch=watch,
            ranks=self.ranks,
            top=self._probing.probes.top,
        )

    def _keep_best(self) -> None:
        """Remember the values of lanes whose held-out or train loss is the best so far."""
        if self.recipe.early_stopping is self.recipe.patience is None:
            return
        for place, lane in enumerate(self.active):
            if self._stoppers[lane].best_epoch == self.epoch:
                self._best[lane] = self.program.lane(place)

    def _outcome(self, place: int, lane: int, status: Status, reason: str) -> Outcome:
        values = self._best.get(lane) or self.program.lane(place)
        probed = self._probing.probed(place)
        return Outcome(lane, status, reason, self.rows[lane], values, probed)

    def _interrupted(self, place: int, lane: int) -> Outcome:
        """Return a lane as it was at its last evaluation."""
        assert self._recorded
        rows = [row for row in self.rows[lane] if row["epoch"] <= self._recorded.epoch]
        values = self._best.get(lane) or self._recorded.lane(lane)
        reason = self._recorded.reason(self.epoch)
        return Outcome(lane, "interrupted", reason, rows, values, self._probing.probed(place))

    def _drop(self, ended: dict[int, tuple[Status, str]]) -> None:
        """Take the ended lanes, by place, out of the batch."""
        places = [place for place in range(len(self.active)) if place not in ended]
        self.active = [self.active[place] for place in places]
        self._best = {lane: values for lane, values in self._best.items() if lane in self.active}
        if self.active:
            self._narrow(places)

    def _narrow(self, places: list[int]) -> None:
        indices = torch.tensor(places, device=self.device)
        self.program.keep(indices)
        lanes = [self.lanes[lane] for lane in self.active]
        self._optimizer.keep(list(self.program.parameters.values()), lanes, indices)
        self._probing.keep(places)
        for feed in (self._train, self._test, self._held_out):
            if feed:
                feed.keep(places)

    def state(self) -> tuple[dict[str, Tensor], dict[str, object]]:
        """Return tensors and plain data from which `restore` goes on; the tensors are live."""
        values = {**self.program.parameters, **self.program.buffers}
        tensors = {f"value/{name}": value for name, value in values.items()}
        for name, moments in self._optimizer.state.items():
            tensors |= {f"moment/{name}/{i}": m for i, m in enumerate(moments)}
        for lane, values in self._best.items():
            tensors |= {f"best/{lane}/{name}": v for name, v in values.items()}
        probe_tensors, probe_plain = self._probing.state()
        tensors |= {f"probe/{name}": value for name, value in probe_tensors.items()}
        plain = {
            "epoch": self.epoch,
            "step": self.step,
            "optimizer_steps": self._optimizer.steps,
            "seconds": self.seconds,
            "active": self.active,
            "rows": self.rows,
            "probes": probe_plain,
            "stoppers": [
                {k: v for k, v in asdict(s).items() if k != "recipe"} for s in self._stoppers
            ],
        }
        return tensors, plain

    def restore(self, tensors: dict[str, Tensor], plain: dict) -> None:
        """Go on from a state returned by `state`; the lanes and recipe must be the same."""
        self.epoch, self.step = plain["epoch"], plain["step"]
        self.seconds, self.active = plain["seconds"], list(plain["active"])
        self.rows = [[dict(row) for row in rows] for rows in plain["rows"]]
        for stopper, saved in zip(self._stoppers, plain["stoppers"], strict=True):
            stopper.best_train = tuple(saved["best_train"])
            stopper.best_held_out = tuple(saved["best_held_out"])
        if not self.active:
            return
        self._narrow(self.active)
        tensors = {name: value.to(self.device, copy=True) for name, value in tensors.items()}
        self.program.load(_under("value/", tensors))
        self._optimizer.parameters = list(self.program.parameters.values())
        self._optimizer.steps = plain["optimizer_steps"]
        for name, moments in self._optimizer.state.items():
            moments[:] = [tensors[f"moment/{name}/{i}"] for i in range(len(moments))]
        self._best = {lane: _under(f"best/{lane}/", tensors) for lane in self.active}
        self._best = {lane: values for lane, values in self._best.items() if values}
        self._probing.restore(_under("probe/", tensors), plain["probes"])
        self._recorded = Recorded.of(self.program, self.active, self.epoch)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names start with `prefix`, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
