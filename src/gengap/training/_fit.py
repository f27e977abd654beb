"""Train one network, or many together."""

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from gengap._copies import copy_of
from gengap._streams import derive_seed
from gengap.data import Ranks, Split, current_ranks

from ._autograd_program import AutogradProgram
from ._dropout import seed_dropout
from ._fit_checks import check_lanes
from ._lane import Lane
from ._own_calls import check_copy
from ._packing import Packing, choose_packing
from ._perceptron_program import PerceptronProgram, perceptron_layers
from ._probes import Probes
from ._processes import map_processes
from ._program import LanesUnavailable, Program
from ._rank_checks import check_ranks
from ._ranked_batch_norm import share_batch_norm
from ._recipe import Recipe
from ._run import Run
from ._seeding import own_draws
from ._trainer import Outcome, Trainer

Builder = Callable[[], nn.Module]
OnEpoch = Callable[[Trainer], None]


def fit(
    model: nn.Module | Builder,
    split: Split,
    *,
    test: Split | None = None,
    recipe: Recipe | None = None,
    seed: int = 0,
    device: str = "auto",
    probes: Probes | None = None,
    on_epoch: OnEpoch | None = None,
) -> Run:
    """Train one network.

    Called by every process of a process group (`torchrun`), all of them train one network
    together and return the same run: each takes its part of every batch, and of the evaluations
    and probes; `batch_size` is that of all. The result is that of one process, up to rounding.

    Args:
        model: A network, which is copied and left alone, or a builder of one, whose initial
            weights then come from `seed`.
        split: What to train on.
        test: What to test on after every epoch, or None.
        recipe: How to train; None takes the defaults.
        seed: Root of every draw.
        device: "auto", "cpu" or "cuda".
        probes: What to measure on the way; None measures nothing more.
        on_epoch: Called with the trainer after every epoch.

    Returns:
        The run; interrupted from the keyboard, what there is of it.

    Raises:
        ValueError: The network, the split and the recipe do not fit each other, or processes
            that train together were given different ones.
        DataError: The classes of the test split have other names or another order.
    """
    lane = Lane(split=split, test=test, seed=seed)
    if not callable(model):
        raise TypeError(
            f"`model` must be a torch.nn.Module or a function that builds one; got "
            f"{type(model).__name__}."
        )
    if not isinstance(recipe, Recipe | None):
        raise TypeError(f"`recipe` must be a gengap.Recipe; got {type(recipe).__name__}.")
    build = (lambda: copy_of(model)) if isinstance(model, nn.Module) else model
    try:
        recipe, where, ranks = recipe or Recipe(), pick_device(device), current_ranks()
        return _train([lane], build, recipe, where, probes, on_epoch, ranks)[0]
    except _Interrupted as interrupted:
        return interrupted.runs[0]


def fit_lanes(
    build: Builder,
    lanes: Sequence[Lane],
    *,
    test: Split | None = None,
    recipe: Recipe | None = None,
    device: str = "auto",
    packing: Packing | None = None,
    probes: Probes | None = None,
    on_epoch: OnEpoch | None = None,
) -> list[Run]:
    """Train several networks of one architecture, together where that is faster.

    Lanes with the same number of training examples share a program. Each lane's result equals
    that of `fit(build, lane.split, seed=lane.seed, ...)` up to rounding.

    Args:
        build: Makes a fresh network; called once a lane, under the lane's seed.
        lanes: What to train.
        test: The test split of lanes without their own.
        recipe: How to train; None takes the defaults.
        device: "auto", "cpu" or "cuda".
        packing: How to pack the runs; None chooses.
        probes: What to measure on the way, in every lane; None measures nothing more.
        on_epoch: Called with the trainer after every epoch; not across processes.

    Returns:
        One run a lane, in order.

    Raises:
        ValueError: A network, a split and the recipe do not fit each other; or several processes
            train together.
        DataError: The classes of a lane's halves have other names or another order.
    """
    recipe, where, world = recipe or Recipe(), pick_device(device), current_ranks().world
    if not lanes:
        return []
    if world > 1:
        raise ValueError(
            f"`fit_lanes` must run in a process of its own; got one of {world} that train "
            "together. Train one network over all of them with `fit`."
        )
    lanes = [replace(lane, test=lane.test or test) for lane in lanes]
    if packing is None:
        packing = choose_packing(build_seeded(build, lanes[0].seed), recipe, device=where)
    groups = pack(lanes, packing)
    tasks = [[lanes[i] for i in group] for group in groups]

    if packing.workers > 1 and len(tasks) > 1:
        results = _fit_in_processes(build, tasks, recipe, packing.workers, probes)
    else:
        results = [
            train_together(
                build, task, recipe=recipe, device=where, probes=probes, on_epoch=on_epoch
            )
            for task in tasks
        ]
    runs = {
        i: run
        for group, result in zip(groups, results, strict=True)
        for i, run in zip(group, result, strict=True)
    }
    return [runs[i] for i in range(len(lanes))]


def _fit_in_processes(
    build: Builder, tasks: list[list[Lane]], recipe: Recipe, workers: int, probes: Probes | None
) -> list[list[Run]]:
    """Train each task in a forked process; values come back, networks are built anew."""

    def train(task: list[Lane]) -> list[tuple[Run, dict[str, Tensor]]]:
        cpu = torch.device("cpu")
        runs = train_together(build, task, recipe=recipe, device=cpu, probes=probes)
        return [
            (replace(run, model=None), {k: v.detach() for k, v in _held(run.model).items()})  # type: ignore[arg-type]
            for run in runs
        ]

    def rebuilt(run: Run, values: dict[str, Tensor]) -> Run:
        return replace(run, model=_holding(build_seeded(build, run.seed), values))

    results = map_processes(train, tasks, workers=workers)
    return [[rebuilt(run, values) for run, values in result] for result in results]


def pack(lanes: Sequence[Lane], packing: Packing) -> list[list[int]]:
    """Group the places of lanes that can share a program, in order."""
    alike: dict[tuple[object, ...], list[int]] = {}
    for i, lane in enumerate(lanes):
        key = (len(lane.split), lane.split.input_shape, lane.test is None)
        alike.setdefault(key, []).append(i)
    groups = []
    for places in alike.values():
        rest = iter(places)
        groups += [list(itertools.islice(rest, size)) for size in packing.sizes(len(places))]
    return groups


def train_together(
    build: Builder,
    lanes: list[Lane],
    *,
    recipe: Recipe,
    device: torch.device,
    probes: Probes | None = None,
    on_epoch: OnEpoch | None = None,
) -> list[Run]:
    """Train lanes as one program, or one after the other where they cannot be stacked."""
    try:
        return _train(lanes, build, recipe, device, probes, on_epoch)
    except LanesUnavailable:
        if len(lanes) == 1:
            raise
        return [_train([lane], build, recipe, device, probes, on_epoch)[0] for lane in lanes]


class _Interrupted(KeyboardInterrupt):
    """An interruption that carries the runs so far."""

    def __init__(self, runs: list[Run]) -> None:
        self.runs = runs


def _train(
    lanes: list[Lane],
    build: Builder,
    recipe: Recipe,
    device: torch.device,
    probes: Probes | None,
    on_epoch: OnEpoch | None,
    ranks: Ranks | None = None,
) -> list[Run]:
    runs: dict[int, Run] = {}
    trainer, models = make_trainer(
        build, lanes, recipe=recipe, device=device, probes=probes, ranks=ranks
    )

    def on_end(outcome: Outcome) -> None:
        runs[outcome.lane] = make_run(outcome, models[outcome.lane], recipe, lanes)

    try:
        trainer.run(on_end, on_epoch)
    except KeyboardInterrupt as error:
        if not runs:
            raise
        raise _Interrupted([runs[i] for i in sorted(runs)]) from error
    return [runs[i] for i in range(len(lanes))]


def make_trainer(
    build: Builder,
    lanes: list[Lane],
    *,
    recipe: Recipe,
    device: torch.device,
    probes: Probes | None = None,
    ranks: Ranks | None = None,
) -> tuple[Trainer, list[nn.Module]]:
    """Return a trainer at epoch 0 and the networks as built, one a lane.

    With `ranks`, processes that train one lane together, from the values of rank 0.
    """
    models, ranks = [build_seeded(build, lane.seed) for lane in lanes], ranks or Ranks()
    check_ranks(models[0], lanes, recipe, ranks)
    for held, value in _of_first(models[0], ranks):
        held.data.copy_(value)
    check_lanes(models[0], lanes, recipe)
    tests = [lane.test for lane in lanes if lane.test is not None]
    program = make_program(models, recipe, device, ranks)
    program.ranks = ranks
    trainer = Trainer(
        program,
        lanes,
        tests or None,
        recipe,
        device,
        model=models[0],
        probes=probes,
        ranks=ranks,
    )
    return trainer, models


def _of_first(model: nn.Module, ranks: Ranks) -> list[tuple[Tensor, Tensor]]:
    """Return what a network holds, each with the value on rank 0."""
    held = list(_held(model).values()) if ranks.world > 1 else []
    return list(zip(held, ranks.from_first(held), strict=True))


def make_program(
    models: list[nn.Module], recipe: Recipe, device: torch.device, ranks: Ranks | None = None
) -> Program:
    """Return the fastest program for these networks, on the device."""
    twins = [copy_of(model).to(device) for model in models]
    for twin, model in zip(twins, models, strict=True):
        check_copy(twin, model)
        seed_dropout(twin, recipe.dropout)
        if ranks and ranks.world > 1:
            share_batch_norm(twin, ranks)
    inside = any(regularizer.layers for regularizer in recipe.regularizers)
    plain = recipe.precision == "float32" and not inside
    found = [perceptron_layers(twin) for twin in twins] if plain else [None]
    if found[0] is not None and None not in found:
        return PerceptronProgram(twins, found[0], recipe)
    return AutogradProgram(twins, recipe)


def make_run(outcome: Outcome, model: nn.Module, recipe: Recipe, lanes: list[Lane]) -> Run:
    """Put the outcome of a lane and its network together."""
    return Run(
        status=outcome.status,
        reason=outcome.reason,
        rows=outcome.rows,
        model=_holding(copy_of(model), outcome.values),
        recipe=recipe,
        seed=lanes[outcome.lane].seed,
        probed=outcome.probed,
    )


def _held(model: nn.Module) -> dict[str, Tensor]:
    """Return what a network holds: parameters and buffers, those that are not saved too."""
    return dict([*model.named_parameters(), *model.named_buffers()])


def _holding(model: nn.Module, values: dict[str, Tensor]) -> nn.Module:
    """Give a network its trained values, on the CPU and in evaluation mode."""
    model.cpu().zero_grad()
    held = _held(model)
    for name, value in values.items():
        held[name].data.copy_(value)
    model.eval()  # a user's `train` may return nothing, and `eval` then neither
    return model


def build_seeded(build: Builder, seed: int) -> nn.Module:
    """Build a network whose initial weights come from the seed's own stream."""
    with own_draws(derive_seed(seed, "weights")):
        model = build()
    if not isinstance(model, nn.Module):
        raise TypeError(f"`build` must return a torch.nn.Module; got {type(model).__name__}.")
    lazy = [name for name, p in model.named_parameters() if nn.parameter.is_lazy(p)]
    if lazy:
        raise ValueError(
            f"`build` must return a network whose parameters are there; got the lazy {lazy[0]!r}. "
            "Name its number of inputs, or run the network once where it is built."
        )
    return model


def pick_device(name: str) -> torch.device:
    """Return the device of a name; "auto" is a GPU where there is one.

    Processes that `torchrun` starts on one machine take a GPU each.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("`device` must be 'cpu' or 'auto' where there is no GPU; got 'cuda'.")
    if name == "cuda" and current_ranks().world > 1 and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    return torch.device(name)
