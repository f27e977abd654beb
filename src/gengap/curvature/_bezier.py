"""A trained curve of low loss between two points: are they connected?"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor, nn

from gengap._checks import check_count, check_positive
from gengap._copies import copy_of
from gengap._functional import functional_call
from gengap._streams import streams
from gengap.data import Split
from gengap.risk import Risk

from ._batch_statistics import Statistics, batch_norm_layers
from ._line import Alphas, ascending
from ._points import Point, as_point, combine, difference, norm
from ._profile import Profile
from ._readings import Progress, read

_BETAS, _EPS = (0.9, 0.999), 1e-8


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Bezier:
    """A trained quadratic curve between two points, and what was read along it.

    Attributes:
        profile: Losses and accuracies along the curve; for `mode_connectivity` and `barrier`.
        straight: The same along the straight line, where training began.
        bend: The control point, float64.
        history: Loss of the batch at each step of training, float64 [steps]; it falls towards a
            plateau where the curve has been trained enough.
    """

    profile: Profile
    straight: Profile
    bend: dict[str, Tensor] = field(repr=False)
    history: Tensor = field(repr=False)


def bezier(
    risk: Risk,
    start: Point | None,
    end: Point | None,
    *,
    steps: int = 300,
    batch_size: int = 128,
    lr: float = 0.01,
    seed: int = 0,
    test: Split | None = None,
    alphas: Alphas | None = None,
    batch_norm: Statistics = "exact",
    statistics: Split | None = None,
    progress: Progress | None = None,
) -> Bezier:
    r"""Train a quadratic Bezier curve of low loss between two points, and read along it.

    $\gamma(t) = (1 - t)^2 \theta_0 + 2 t (1 - t) \beta + t^2 \theta_1$,
    $\beta$ minimizes $E_{t \sim U(0, 1)} R(\gamma(t))$

    beta starts in the middle, so that the curve is the straight line, and takes steps of Adam on
    batches, each at one t, with a learning rate that falls to 0 along a cosine. What is found is
    one curve, trained for so many steps: without a barrier the ends are connected; with one,
    another curve or more steps may still connect them. An exchange of the hidden units of one
    end is another problem with another answer. BatchNorm layers normalize by the batch while the
    curve is trained, and by `batch_norm` when it is read; dropout is off.

    Args:
        risk: Model, loss and the examples on which the curve is trained and read.
        start: As of `line`.
        end: As of `line`.
        steps: Steps of training.
        batch_size: Examples a step.
        lr: Learning rate at the start.
        seed: Of the order of examples and of the places t.
        test: As of `line`.
        alphas: Where to read; None is 25 points from 0 to 1.
        batch_norm: As of `line`.
        statistics: As of `line`.
        progress: As of `line`, for the points of the trained curve.

    Returns:
        The curve; losses NaN where training diverged, which a smaller `lr` mends.

    Cost: one forward and one backward pass over a batch a step; twice that of `line`.

    Raises:
        ValueError: A point does not fit the model, or there is nothing to train.

    Source:
        Garipov, Izmailov, Podoprikhin, Vetrov, Wilson (2018), arXiv:1802.10026, who train with
        SGD.
    """
    check_count("steps", steps, least=0)
    batch_size = check_count("batch_size", batch_size, least=2)
    check_positive("lr", lr)
    check_count("seed", seed, least=0)
    where = ascending(alphas, torch.linspace(0, 1, 25, dtype=torch.float64))
    first, last = as_point(start, risk, name="start"), as_point(end, risk, name="end")
    middle = combine((first, last), (0.5, 0.5))
    bend, history = _trained(
        risk, (first, middle, last), steps=steps, batch_size=batch_size, lr=lr, seed=seed
    )
    weights = torch.stack(_weights(where), 1)
    length = norm(difference(last, first))

    def profile(kind: str, bend: dict[str, Tensor], report: Progress | None) -> Profile:
        found = read(
            risk,
            (first, bend, last),
            weights,
            test=test,
            batch_norm=batch_norm,
            statistics=statistics,
            progress=report,
        )
        return Profile(
            kind=kind,
            alphas=where,
            losses=found.losses,
            accuracies=found.accuracies,
            length=length,
        )

    return Bezier(
        profile=profile("bezier", bend, progress),
        straight=profile("line", middle, None),
        bend=bend,
        history=history,
    )


def _weights(t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weights of start, bend and end at t."""
    return (1 - t).square(), 2 * t * (1 - t), t.square()


def _trained(
    risk: Risk,
    points: tuple[dict[str, Tensor], ...],
    *,
    steps: int,
    batch_size: int,
    lr: float,
    seed: int,
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the trained control point and the loss at each step."""
    first, middle, last = ({k: v.to(risk.dtype) for k, v in one.items()} for one in points)
    bend = {name: value.clone().requires_grad_() for name, value in middle.items()}
    model = _following_batches(risk.model)
    moments = {name: (torch.zeros_like(v), torch.zeros_like(v)) for name, v in middle.items()}
    places = torch.rand(steps, generator=streams(seed)("places"), dtype=torch.float64)
    batches = _batches(risk, batch_size, seed)
    history = []
    for step, t in enumerate(places):
        a, b, c = (float(weight) for weight in _weights(t))
        x, y = next(batches)
        with torch.enable_grad():
            place = {k: a * first[k] + b * bend[k] + c * last[k] for k in bend}
            loss = risk.losses(functional_call(model, place, (x,)), y).mean()
        slopes = torch.autograd.grad(
            loss, list(bend.values()), allow_unused=True, materialize_grads=True
        )
        rate = lr * (1 + math.cos(math.pi * step / steps)) / 2
        with torch.no_grad():
            for (name, value), slope in zip(bend.items(), slopes, strict=True):
                value -= rate * _direction(slope, *moments[name], step + 1)
        history.append(float(loss.detach()))
    found = {name: value.detach().double() for name, value in bend.items()}
    return found, torch.tensor(history, dtype=torch.float64)


def _direction(slope: Tensor, mean: Tensor, square: Tensor, step: int) -> Tensor:
    """Return Adam's direction and update its moments; `torch.optim` takes seconds to import."""
    mean.lerp_(slope, 1 - _BETAS[0])
    square.lerp_(slope.square(), 1 - _BETAS[1])
    corrected = (square / (1 - _BETAS[1] ** step)).sqrt_()
    return mean / (1 - _BETAS[0] ** step) / corrected.add_(_EPS)


def _following_batches(model: nn.Module) -> nn.Module:
    """Return a copy whose BatchNorm layers normalize by the batch."""
    found = copy_of(model)
    for layer in batch_norm_layers(found).values():
        layer.train()
    return found


def _batches(risk: Risk, batch_size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of one size for ever, in a new order every epoch."""
    size, epoch = min(batch_size, risk.n), 0
    while True:
        order = torch.randperm(risk.n, generator=streams(seed)("order", epoch))
        for begin in range(0, risk.n - size + 1, size):
            x, y = risk.split.batch(order[begin : begin + size])
            yield risk.cast(x), risk.cast(y)
        epoch += 1
