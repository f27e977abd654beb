"""The probes of the lanes that train together."""

import torch
from torch import Tensor, nn

from gengap._streams import derive_seed
from gengap.data import Ranks, Split

from ._coherence_probe import CoherenceProbe
from ._evaluation import Watch
from ._example_probe import ExampleProbe
from ._lane import Lane
from ._probed import Probed
from ._probes import Probes
from ._program import Program
from ._recipe import Recipe
from ._seeding import own_draws


class Probing:
    """The probes of l lanes; without any, every method does nothing.

    Attributes:
        probes: What is measured.
        active: The lanes that still train.
        ranks: The processes that share the examples.
    """

    ranks = Ranks()

    def __init__(
        self,
        probes: Probes | None,
        model: nn.Module,
        lanes: list[Lane],
        splits: list[Split],
        rows: list[Tensor],
        *,
        recipe: Recipe,
        device: torch.device,
    ) -> None:
        self.probes = probes or Probes()
        self.active = list(range(len(lanes)))
        self._seed = lanes[0].seed
        self._evaluations = 0
        self._coherence = self._examples = None
        if self.probes.examples:
            if recipe.loss != "cross_entropy":
                raise ValueError(
                    "`examples` of the probes must go with classes, as margins and learning times "
                    f"do; got the loss {recipe.loss!r}."
                )
            self._examples = ExampleProbe(splits, rows, device)
        if self.probes.coherence:
            self._coherence = CoherenceProbe(
                model,
                splits,
                [lane.seed for lane in lanes],
                examples=self.probes.coherence,
                loss=recipe.loss,
                device=device,
                null_worlds=self.probes.null_worlds,
            )

    def watch(self, epoch: int) -> Watch | None:
        """Return what takes the batches of the evaluation after so many epochs, if it wants to."""
        if self._examples is None:
            return None
        self._examples.start(epoch)
        return self._examples.take

    def after_step(self, program: Program, *, epoch: int, step: int) -> None:
        """Measure after a step, if it is due."""
        if self._coherence and self.probes.is_due(step):
            self._measure(program, epoch=epoch, step=step)

    def after_evaluation(self, program: Program, *, epoch: int, step: int) -> list[dict]:
        """Measure after an evaluation; return further columns of the history, a row a lane."""
        rows: list[dict[str, float]] = [{} for _ in self.active]
        if self._coherence:
            if self._evaluations % self.probes.every == 0:
                self._measure(program, epoch=epoch, step=step)
            self._evaluations += 1
            for row, lane in zip(rows, self.active, strict=True):
                row |= self._coherence.row(lane, step=step)
        if self._examples:
            self._examples.finish(self.ranks)
            for place, row in enumerate(rows):
                row |= self._examples.row(place)
        return rows

    def _measure(self, program: Program, *, epoch: int, step: int) -> None:
        assert self._coherence
        values = {lane: program.lane(place) for place, lane in enumerate(self.active)}
        with own_draws(derive_seed(self._seed, "model", step, "probe")):
            self._coherence.measure(values, epoch=epoch, step=step, ranks=self.ranks)

    def probed(self, place: int) -> Probed | None:
        """Return what was measured of the lane at a place, or None where nothing was."""
        lane = self.active[place]
        if not (self._coherence or self._examples):
            return None
        return Probed(
            coherence=self._coherence.columns(lane) if self._coherence else None,
            null_worlds=self._coherence.null_columns(lane)
            if self._coherence and self.probes.null_worlds
            else None,
            examples=self._examples.columns(place) if self._examples else None,
        )

    def keep(self, places: list[int]) -> None:
        """Go on with the lanes at these places."""
        self.active = [self.active[place] for place in places]
        if self._examples:
            self._examples.keep(places)

    def state(self) -> tuple[dict[str, Tensor], dict[str, object]]:
        """Return tensors and plain data from which `restore` goes on."""
        tensors: dict[str, Tensor] = {}
        plain: dict[str, object] = {"evaluations": self._evaluations}
        if self._examples and self.active:
            tensors |= {f"example/{k}": v for k, v in self._examples.tensors.items()}
            plain["example_evaluations"] = self._examples.evaluations
        if self._coherence and self.active:
            found = self._coherence.state(self.active)
            tensors |= {f"coherence/{name}": value for name, value in found.items()}
            plain["moments"] = self._coherence.moments
        return tensors, plain

    def restore(self, tensors: dict[str, Tensor], plain: dict) -> None:
        """Go on from a state of the same lanes, which `keep` has left."""
        self._evaluations = plain["evaluations"]
        if self._examples:
            own = self._examples.tensors
            self._examples.tensors = {name: tensors[f"example/{name}"] for name in own}
            self._examples.evaluations = plain["example_evaluations"]
        if self._coherence:
            own = {name.removeprefix("coherence/"): value for name, value in tensors.items()}
            self._coherence.restore(self.active, own, plain["moments"])
