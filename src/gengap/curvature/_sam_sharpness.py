"""The sharpness that SAM and ASAM descend, worst and average."""

from dataclasses import dataclass
from typing import Literal, final

import torch

from gengap._checks import check_choice, check_count, check_non_negative, check_positive
from gengap._streams import streams
from gengap.risk import Risk

from ._ascent import Ascent, ascend
from ._flat_risk import FlatRisk
from ._normalized_logits import of_normalized_logits
from ._regions import Ball, Box, Region
from ._sharpness import Sharpness, largest_rise


def sam_sharpness(
    risk: Risk,
    *,
    rho: float = 0.05,
    adaptive: bool = False,
    norm: Literal["l2", "linf"] = "l2",
    steps: int = 1,
    starts: int = 1,
    average: bool = False,
    draws: int = 32,
    normalize_logits: bool = False,
    batch_size: int | None = None,
    eta: float = 0.0,
    seed: int = 0,
) -> Sharpness:
    r"""Measure the rise of the loss under the worst, or a random, change of the parameters.

    $$\max_{\|d / c\| \le \rho} L(\theta + d) - L(\theta), \qquad \text{or} \quad
    \mathbb{E}_d [L(\theta + d)] - L(\theta)$$

    with $c = 1$, or adaptive, $c = |\theta| + \eta$. The worst change is one step of the gradient,
    $d = \rho c^2 g / \|c g\|_2$ or $\rho c \, \mathrm{sign}\, g$ (SAM and ASAM), or more `steps`
    of ascent. The average is over $d \sim N(0, \rho^2 c^2)$, for "linf" uniform on $\pm \rho c$, in
    pairs of opposite signs.

    Units: those of the loss (nats). One step may be negative; many steps give a lower bound of
    the maximum, from 0 up; the average is unbiased, its standard error falls as one over the root
    of `draws`. Adaptive with eta = 0 it does not change under rescaling of weights and biases
    that keeps the function; with eta > 0, or not adaptive, it does. Cost in
    forward-and-backward passes: 2 for one step, one to two a further step, 2/3 a draw of the
    average.

    Args:
        risk: The risk; computed in float64 on all examples.
        rho: Radius; in units of the parameters, or adaptive, of a share of each.
        adaptive: Measure changes relative to the size of each parameter.
        norm: "l2" or "linf".
        steps: Steps of ascent for the worst change.
        starts: Where more than one step: random starts, the first without any draw.
        average: The mean over random changes instead of the worst.
        draws: Pairs of random changes.
        normalize_logits: Take the mean from each example's outputs and scale them to length 1.
        batch_size: Mean over random batches of so many examples, each with its own worst change
            (m-sharpness); None takes all examples at once.
        eta: Added to |theta| if adaptive.
        seed: Of starts, draws and batches.

    Source:
        Foret et al. (2021), arXiv:2010.01412; Kwon et al. (2021), arXiv:2102.11600, whose code
        adapts weights only, with eta = 0.01; Andriushchenko et al. (2023), arXiv:2302.07011.
    """
    check_positive("rho", rho)
    check_non_negative("eta", eta)
    check_choice("norm", norm, ("l2", "linf"))
    for name, count in (("steps", steps), ("starts", starts), ("draws", draws)):
        check_count(name, count)
    change = _Change(rho, adaptive, norm, eta)
    loss = of_normalized_logits(risk.loss) if normalize_logits else None

    def of(part: Risk, seed: int) -> Sharpness:
        flat = FlatRisk.of(part, loss=loss)
        if average:
            return _average(flat, change, draws, seed)
        return _worst(flat, change.region(flat), steps, starts, seed)

    if batch_size is None:
        return of(risk, seed)
    batch_size = check_count("batch_size", batch_size)
    order = torch.randperm(risk.n, generator=streams(seed)("sam", "batches"))
    batches = [risk[indices] for indices in order.split(batch_size)]
    return _mean([of(batch, seed + i) for i, batch in enumerate(batches)], [b.n for b in batches])


@final
@dataclass(frozen=True)
class _Change:
    rho: float
    adaptive: bool
    norm: str
    eta: float

    def scales(self, flat: FlatRisk) -> torch.Tensor:
        return flat.start.abs() + self.eta if self.adaptive else torch.ones_like(flat.start)

    def region(self, flat: FlatRisk) -> Region:
        scales = self.scales(flat)
        return Ball(self.rho, scales) if self.norm == "l2" else Box(self.rho * scales)

    def draw(self, flat: FlatRisk, generator: torch.Generator) -> torch.Tensor:
        if self.norm == "linf":
            return Box(self.rho * self.scales(flat)).draw(generator)
        noise = torch.randn(flat.p, generator=generator, dtype=torch.float64)
        return self.rho * self.scales(flat) * noise.to(flat.start.device)


def _worst(flat: FlatRisk, region: Region, steps: int, starts: int, seed: int) -> Sharpness:
    def function(d: torch.Tensor) -> tuple[float, torch.Tensor]:
        return flat.value_and_gradient(flat.start + d)

    _, gradient = function(torch.zeros_like(flat.start))
    first = region.furthest(gradient)
    if steps == 1:
        rise = flat.value(flat.start + first) - flat.loss
        return Sharpness(
            value=rise, loss=flat.loss, rises=(rise,), evaluations=2, passes=flat.passes,
            messages=("one step" if first.any() else "the gradient is zero",), displacement=first,
        )  # fmt: skip
    draw = streams(seed)
    points = [first, *(region.draw(draw("sam", "start", i)) for i in range(1, starts))]
    found: list[Ascent] = [ascend(function, region, point, steps=steps - 1) for point in points]
    return largest_rise(flat, found)


def _average(flat: FlatRisk, change: _Change, draws: int, seed: int) -> Sharpness:
    draw, rises = streams(seed), []
    for i in range(draws):
        d = change.draw(flat, draw("sam", "noise", i))
        rises.append(0.5 * (flat.value(flat.start + d) + flat.value(flat.start - d)) - flat.loss)
    values = torch.tensor(rises, dtype=torch.float64)
    return Sharpness(
        value=float(values.mean()),
        standard_error=float(values.std()) / draws**0.5,
        loss=flat.loss,
        rises=tuple(rises),
        evaluations=2 * draws,
        passes=flat.passes,
    )


def _mean(parts: list[Sharpness], sizes: list[int]) -> Sharpness:
    """Return the mean over batches; its standard error is that over random batches."""
    weights = torch.tensor(sizes, dtype=torch.float64) / sum(sizes)
    values = torch.tensor([part.value for part in parts], dtype=torch.float64)
    mean = float(weights @ values)
    spread = float(weights @ (values - mean).square()) / max(1, len(parts) - 1)
    return Sharpness(
        value=mean,
        standard_error=spread**0.5 if len(parts) > 1 else float("nan"),
        loss=float(weights @ torch.tensor([part.loss for part in parts], dtype=torch.float64)),
        rises=tuple(part.value for part in parts),
        evaluations=sum(part.evaluations for part in parts),
        passes=float(sum(w * part.passes for w, part in zip(weights, parts, strict=True))),
        messages=tuple(dict.fromkeys(message for part in parts for message in part.messages)),
    )
